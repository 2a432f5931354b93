package path

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// Without Tidegate whoever did not opt in notices nothing; a Job that did waits
// for it.
func TestTidegateDown(t *testing.T) {
	w := newWorld(t, "absent")
	stopTidegate(t)

	plain := w.pod("plain", "500m", time.Second)
	plain.Annotations = map[string]string{cluster.RunFor: "1s"}
	plain.Spec.NodeSelector = map[string]string{corev1.LabelHostname: rig.ServerNode}
	created := w.submit(plain)
	if diff := cmp.Diff(plain.Annotations, created.Annotations); diff != "" || len(created.Spec.SchedulingGates) > 0 {
		t.Errorf("a pod that did not opt in has gates %v and annotations (-want +got):\n%s", created.Spec.SchedulingGates, diff)
	}
	if c := condition(w.phase("plain", corev1.PodSucceeded)); c.Type != "" {
		t.Errorf("it has Tidegate's condition: %+v", c)
	}

	_, err := w.Client.CoreV1().Pods(w.namespace).Create(t.Context(), w.pod("opted-in", "1", 0), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "gate.tidegate.io") {
		t.Errorf("an opted-in pod was created without a gate: %v", err)
	}
	w.job("later", 1, w.pod("", "1", time.Second))
	tidegate(t)
	w.eventually("the Job is done", func() error {
		job, err := w.Client.BatchV1().Jobs(w.namespace).Get(t.Context(), "later", metav1.GetOptions{})
		if err != nil || job.Status.Succeeded != 1 {
			return fmt.Errorf("%+v, %v", job.Status, err)
		}
		return nil
	})
	w.atRest(1)
}

// The leader is killed while its machine works; another replica, which did
// nothing until then, ends the retirement.
func TestLeaderKilled(t *testing.T) {
	w := newWorld(t, "leader")
	leader := own(t, rig.ProcessOptions{})
	ready(t, leader)
	standby := replica(t, rig.ProcessOptions{Standby: true})
	ready(t, standby)
	w.submit(w.pod("work", "3", 2*time.Second))
	w.phase("work", corev1.PodRunning)
	if log := standby.Log(); strings.Contains(log, "capacity manager leads") || !strings.Contains(leader.Log(), "capacity manager leads") {
		t.Fatalf("the wrong replica leads\n%s", logs())
	}
	leader.Kill()
	w.atRest(1)
	if log := standby.Log(); !strings.Contains(log, "capacity manager leads") || !strings.Contains(log, "node forgotten") {
		t.Errorf("the standby did not take over\n%s", logs())
	}
}

// A machine is bought with one token and deleted with another.
func TestTokenExpires(t *testing.T) {
	w := newWorld(t, "token")
	t.Parallel()
	p := tidegate(t)
	w.submit(w.pod("work", "3", tokenLife+5*time.Second))
	w.within(tokenLife+patience, "the pod has ended", func() error {
		if phase := w.get("work").Status.Phase; phase != corev1.PodSucceeded {
			return fmt.Errorf("it is %s", phase)
		}
		return nil
	})
	w.atRest(1)
	if strings.Contains(p.Log(), "does not accept the token") {
		t.Errorf("an expired token was used\n%s", logs())
	}
}

// Asked to stop in the middle of a purchase, tidegate run ends the purchase,
// gives the lease back and ends without an error.
func TestStopsCleanly(t *testing.T) {
	w := newWorld(t, "sigterm")
	p := own(t, rig.ProcessOptions{})
	ready(t, p)
	w.Azure.Cloud().AddFaults(emulator.Fault{Operation: writeAction, Set: w.pool, Count: 1, Effect: emulator.Effect{Delay: metav1.Duration{Duration: 2 * time.Second}}})
	t.Cleanup(w.Azure.Cloud().ClearFaults)
	w.submit(w.pod("work", "3", time.Second))
	w.waits("work", "MachinesComing", "1 machine in sigterm") // written while the purchase is under way
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Terminate(ctx); err != nil {
		t.Errorf("tidegate run ended with %v\n%s", err, logs())
	}
	if log := p.Log(); !strings.Contains(log, "bought machines") || !strings.Contains(log, "tidegate stopped") {
		t.Errorf("the log does not tell of a finished purchase and of the end\n%s", logs())
	}
	tidegate(t)
	w.phase("work", corev1.PodSucceeded)
	w.atRest(1)
}

// IMDS is down when Tidegate starts: it says so, keeps trying, and goes on.
func TestIMDSDownAtStart(t *testing.T) {
	w := newWorld(t, "imds")
	w.Azure.Cloud().AddFaults(emulator.Fault{Operation: "imds/*", Effect: emulator.Effect{Drop: emulator.DropBefore}})
	t.Cleanup(w.Azure.Cloud().ClearFaults)
	p := own(t, rig.ProcessOptions{})
	w.saysNotReady(p, "IMDS")
	w.eventually("a pod is gated all the same", func() error {
		_, err := w.Client.CoreV1().Pods(w.namespace).Create(t.Context(), w.pod("work", "3", time.Second), metav1.CreateOptions{})
		return err
	})
	w.waits("work", "PoolsUnknown", "IMDS")
	w.Azure.Cloud().ClearFaults()
	ready(t, p)
	w.phase("work", corev1.PodSucceeded)
	w.atRest(1)
}

// saysNotReady waits until both log and /readyz say what keeps the replica from
// its work.
func (w *world) saysNotReady(p *rig.Process, text string) {
	w.t.Helper()
	w.eventually("log and /readyz say "+text, func() error {
		if code, answer := p.Ready(w.t.Context()); code != http.StatusInternalServerError || !strings.Contains(answer, "[-]cloud failed") {
			return fmt.Errorf("/readyz: %d %s", code, answer)
		}
		code, answer := p.Check(w.t.Context(), "cloud")
		if code != http.StatusInternalServerError || !strings.Contains(answer, text) {
			return fmt.Errorf("/readyz/cloud: %d %s", code, answer)
		}
		if !strings.Contains(p.Log(), text) {
			return errors.New("the log does not")
		}
		return nil
	})
}
