package commands

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
)

// What a user reads while pods wait, run and end, from the first look to the
// last machine.
func TestStatusAndExplain(t *testing.T) {
	u := newUser(t).withoutTidegate()
	u.reads("status", "No Tidegate leads", "No pod waits.")
	u.withTidegate()
	u.submits("frames", 0)
	u.eventually("the pod says why it waits and when it starts", func() error {
		if waiting := u.status().Waiting; len(waiting) != 1 || waiting[0].Reason != "MachinesComing" || waiting[0].Expected == nil {
			return fmt.Errorf("waiting are %+v", waiting)
		}
		return nil
	})
	u.reads("status", "Leader:", pool, "default/frames", "waiting for 1 machine in "+pool)
	u.reads("explain pod frames", "Pod default/frames waits at the gate", "waiting for 1 machine in "+pool, "3 cpu", pool+": a new machine would hold it")

	machine := u.machine(cli.Busy)
	u.reads("plan", "Tidegate would do")
	if machine.Pool != pool || machine.Pods != 1 || machine.VMID == "" {
		t.Errorf("the machine is %+v, want one of %s with one pod", machine, pool)
	}
	u.reads("status -o wide", machine.Name, machine.VMID)
	u.reads("status -o yaml", "name: "+machine.Name)
	u.reads("explain pod frames -n default", "is on node "+machine.Name, "Released: released towards node "+machine.Name)
	u.fails("explain pod nothing", `there is no pod "nothing" in namespace "default"`)
	u.fits(u.types("status"))

	out, err := u.RunPlugin(t.Context(), u.kubeconfig, "status")
	if err != nil || !strings.Contains(out, machine.Name) {
		t.Errorf("kubectl tidegate status: %v\n%s", err, out)
	}

	u.ends("frames")
	u.atRest()
}

// fits checks that the text fits a terminal, and has no colours where there is none.
func (u *user) fits(text string) {
	u.t.Helper()
	for line := range strings.SplitSeq(text, "\n") {
		if n := utf8.RuneCountInString(line); n > 100 || strings.Contains(line, "\x1b") {
			u.t.Errorf("%d columns or colours, and no terminal: %q", n, line)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	u := newUser(t).withTidegate()
	bought := len(u.Azure.Cloud().History())
	u.reads("pause", "paused: nothing is bought")
	u.submits("patient", time.Second)
	u.eventually("the pod says that Tidegate only observes", func() error {
		if waiting := u.status().Waiting; len(waiting) != 1 || waiting[0].Reason != "ObserveOnly" {
			return fmt.Errorf("waiting are %+v", waiting)
		}
		return nil
	})
	u.reads("status", "Paused:")
	u.reads("plan", "Tidegate would do this now", "buy", "1 machine in "+pool+", 0 to 1", "default/patient")
	u.reads("status -o wide", "Tidegate only observes; it would say: waiting for 1 machine in "+pool)
	if got := len(u.Azure.Cloud().History()); got != bought {
		t.Errorf("Azure had %d events while Tidegate was paused and planned for", got-bought)
	}
	if out := u.types("resume"); out != "resumed\n" {
		t.Errorf("tidegate resume says %q", out)
	}
	u.eventually("the pod is gone from the gate", func() error {
		if waiting := u.status().Waiting; len(waiting) > 0 {
			return fmt.Errorf("waiting are %+v", waiting)
		}
		return nil
	})
	u.atRest()
}

func TestRetireAndKeep(t *testing.T) {
	u := newUser(t).withTidegate()
	u.submits("long", 0)
	node := u.machine(cli.Busy).Name

	u.reads("retire "+node, "is retired as soon as it is empty")
	if reason := u.machine(cli.Retiring).Reason; reason != "an operator asked for it" {
		t.Errorf("the machine is retiring because %q", reason)
	}
	u.reads("retire "+node+" --undo", "is no longer asked to retire")
	u.reads("keep "+node, "is kept")
	u.fails("retire "+node, "tidegate keep "+node+" --undo")

	// Kept, it outlives its work and every idle time.
	u.ends("long")
	if reason := u.machine(cli.Idle).Reason; reason != "kept: annotation "+api.KeepAnnotation {
		t.Errorf("the machine is kept by %q", reason)
	}
	time.Sleep(5 * time.Second) // more than its idle time of 3 s
	u.machine(cli.Idle)
	u.reads("keep "+node+" --undo", "is no longer kept")
	u.atRest()
	u.fails("keep "+node, "there is no node")
}

// A user without rights is told which one is missing.
func TestWithoutRights(t *testing.T) {
	u := newUser(t)
	var err error
	if u.kubeconfig, err = u.Cluster.UserKubeconfig("nobody"); err != nil {
		t.Fatal(err)
	}
	u.fails("status", "use a kubeconfig that may, or ask for that right")
	u.fails("pause", "use a kubeconfig that may patch ConfigMaps in tidegate-system")
	u.fails("keep server-0", "use a kubeconfig")
}
