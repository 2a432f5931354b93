// Package commands tests people's commands as they are used: the built binary,
// a real control plane, and machines that come and go.
package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/cli"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
	azuretemplate "github.com/tidegate-k3s/tidegate/manifests/azure"
)

// patience is how long anything may take that is to happen.
const patience = time.Minute

// suite is the one rig of the tests, which run one after the other.
var suite struct {
	once     sync.Once
	rig      *rig.Rig
	err      error
	tidegate *rig.Process
}

func TestMain(m *testing.M) {
	code := m.Run()
	if suite.rig != nil {
		suite.rig.Stop()
	}
	os.Exit(code)
}

// user is somebody at a terminal.
type user struct {
	t *testing.T
	*rig.Rig
	kubeconfig string
}

// pool is the scale set that the template declares.
const pool = "tidegate-agents"

// newUser returns the administrator of the running rig.
func newUser(t *testing.T) *user {
	t.Helper()
	suite.once.Do(func() {
		// What the tests run on is what the template deploys, but for its pace.
		deployed, err := azuretemplate.Emulated(map[string]any{
			"currentAgents": 0, "maxAgents": 3,
			"k3sVersion": "v1.37.2+k3s1", "sshPublicKey": "ssh-ed25519 KEY", "serverToken": "server", "agentToken": "agent",
		})
		if err != nil {
			suite.err = err
			return
		}
		deployed.Limits.Off = true
		agents := &deployed.ScaleSets[0]
		agents.BootTime = emulator.Between(time.Second, 2*time.Second)
		agents.TerminateNotice.Duration = 0 // no agent runs that approves it
		agents.Tags[api.IdleAfterTag] = "3s"
		suite.rig, suite.err = rig.Start(context.Background(), rig.Options{Settle: time.Second, Azure: deployed})
	})
	if suite.err != nil {
		t.Fatalf("start the rig: %v", suite.err)
	}
	return &user{t: t, Rig: suite.rig, kubeconfig: suite.rig.Cluster.Kubeconfig}
}

// withTidegate starts Tidegate if it does not run.
func (u *user) withTidegate() *user {
	u.t.Helper()
	if suite.tidegate == nil {
		var err error
		if suite.tidegate, err = u.StartTidegate(rig.ProcessOptions{}); err != nil {
			u.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(u.t.Context(), patience)
	defer cancel()
	if err := suite.tidegate.AwaitReady(ctx); err != nil {
		u.t.Fatal(err)
	}
	return u
}

// withoutTidegate ends it in good order.
func (u *user) withoutTidegate() *user {
	u.t.Helper()
	if suite.tidegate == nil {
		return u
	}
	ctx, cancel := context.WithTimeout(u.t.Context(), patience)
	defer cancel()
	if err := suite.tidegate.Terminate(ctx); err != nil {
		u.t.Fatal(err)
	}
	suite.tidegate = nil
	return u
}

// types runs a command and returns what it prints.
func (u *user) types(args ...string) string {
	u.t.Helper()
	out, err := u.Run(u.t.Context(), u.kubeconfig, args...)
	if err != nil {
		u.t.Fatal(err)
	}
	return out
}

// reads fails unless what the command prints has all the texts in it and, unless
// it was asked to be wide, fits.
func (u *user) reads(command string, texts ...string) {
	u.t.Helper()
	out := u.types(strings.Fields(command)...)
	if !strings.HasSuffix(command, "-o wide") {
		u.fits(out)
	}
	for _, text := range texts {
		if !strings.Contains(unwrapped(out), unwrapped(text)) {
			u.t.Errorf("tidegate %s does not say %q:\n%s", command, text, out)
		}
	}
}

// fails fails unless the command fails and says the text, in lines that fit.
func (u *user) fails(command, text string) {
	u.t.Helper()
	out, err := u.Run(u.t.Context(), u.kubeconfig, strings.Fields(command)...)
	_, said, _ := strings.Cut(fmt.Sprint(err), "\n")
	u.fits(said)
	if err == nil || !strings.Contains(unwrapped(said), text) {
		u.t.Errorf("tidegate %s: error %v, want one that says %q; it printed\n%s", command, err, text, out)
	}
}

// unwrapped is a text as one line.
func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

// status is what tidegate status -o json says.
func (u *user) status() cli.Report {
	u.t.Helper()
	var report cli.Report
	if err := json.Unmarshal([]byte(u.types("status", "-o", "json")), &report); err != nil {
		u.t.Fatal(err)
	}
	return report
}

// submits creates an opted-in pod of 3 CPUs, which runs for ever if runFor is 0.
func (u *user) submits(name string, runFor time.Duration) {
	u.t.Helper()
	u.submitsSized(name, "3", runFor)
}

// submitsSized does so for a pod of that many CPUs.
func (u *user) submitsSized(name, cpus string, runFor time.Duration) {
	u.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{api.GateKey: "true"}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{Name: "work", Image: "work", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus)},
			}}},
		},
	}
	if runFor > 0 {
		p.Annotations[cluster.RunFor] = runFor.String()
	}
	if _, err := u.Client.CoreV1().Pods(p.Namespace).Create(u.t.Context(), p, metav1.CreateOptions{}); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() {
		_ = u.Client.CoreV1().Pods(p.Namespace).Delete(context.Background(), name, metav1.DeleteOptions{})
	})
}

// ends makes the pod end.
func (u *user) ends(name string) {
	u.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"1s"}}}`, cluster.RunFor)
	if _, err := u.Client.CoreV1().Pods("default").Patch(u.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		u.t.Fatal(err)
	}
}

// eventually waits until the check has nothing to say.
func (u *user) eventually(what string, check func() error) {
	u.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log := "Tidegate does not run"
			if suite.tidegate != nil {
				log = suite.tidegate.Log()
			}
			u.t.Fatalf("not within %s: %s; last: %v\n%s", patience, what, err, log)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// machine waits for the pool's one machine to be in the state, and returns it.
func (u *user) machine(want cli.MachineState) cli.Machine {
	u.t.Helper()
	var found cli.Machine
	u.eventually("the machine is "+string(want), func() error {
		machines := u.status().Machines
		if len(machines) != 1 || machines[0].State != want {
			return fmt.Errorf("the machines are %+v", machines)
		}
		found = machines[0]
		return nil
	})
	return found
}

// atRest waits until no machine is left.
func (u *user) atRest() {
	u.t.Helper()
	u.eventually("no machine is left", func() error {
		if report := u.status(); len(report.Machines) > 0 || report.Pools[0].Machines > 0 {
			return fmt.Errorf("the machines are %+v, the pools %+v", report.Machines, report.Pools)
		}
		return nil
	})
}
