package path

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// capacityOnly are the flags of a replica that only buys and retires, so that
// it can be killed while another one serves webhook and extender.
var capacityOnly = []string{"--webhook=false", "--extender=false"}

// killed runs the capacity manager once for each write, before and after
// which it is killed in the middle of what it does, and returns when the last
// one is dead.
func killed(t *testing.T, writes ...string) {
	t.Helper()
	for _, write := range writes {
		for _, when := range []string{"before", "after"} {
			killedAt(t, write+":"+when)
		}
		suite.killed[write] = true
	}
}

func killedAt(t *testing.T, failpoint string) {
	t.Helper()
	p := start(t, rig.ProcessOptions{Failpoint: failpoint, Standby: true, Args: capacityOnly})
	defer p.Kill()
	select {
	case <-p.Exited():
	case <-time.After(patience):
		t.Fatalf("tidegate run never came to %s\n%s", failpoint, logs())
	}
	if !p.Killed() {
		t.Fatalf("tidegate run ended by itself before it came to %s\n%s", failpoint, logs())
	}
	freeLease(t)
}

// No write is left out, also none that comes to be later, but for notKilledHere.
func TestKilled(t *testing.T) {
	t.Run("at every write of a machine's life", killedAtEveryWrite)
	t.Run("at an eviction", killedAtEviction)
	t.Run("at an interruption", killedAtInterruption)
	t.Run("in the life of a machine that is kept off", killedInALifeWithBreaks)
	t.Run("at a repair", killedAtRepair)
	wanted := slices.DeleteFunc(writeKinds(t), func(kind string) bool { return notKilledHere[kind] })
	if diff := cmp.Diff(wanted, slices.Sorted(maps.Keys(suite.killed))); diff != "" && !t.Failed() {
		t.Errorf("kinds of write in the source and those at which tidegate run was killed (-source +killed):\n%s", diff)
	}
}

// notKilledHere are the writes after which the next process waits for three minutes,
// until nothing that the dead one has asked for can be on its way. The simulation ends
// processes at these.
var notKilledHere = map[string]bool{"restart": true, "record-restart": true}

// A capacity manager that is killed before and after every write, and starts
// again each time, does what one does that lives: it buys one machine, uses it
// for all pods, and deletes it once.
func killedAtEveryWrite(t *testing.T) {
	w := newWorld(t, "kills")
	tidegate(t)
	w.eventually("the other pools are at rest", w.othersRest)
	ready(t, own(t, rig.ProcessOptions{Args: []string{"--capacity=false"}}))

	killed(t, "publish")
	w.submit(w.pod("huge", "96", 0))
	killed(t, "explain")
	w.delete("huge")

	w.submit(w.pod("first", "3", 5*time.Second))
	killed(t, "grow")
	killed(t, "adopt") // side by side with the release of the first pod
	w.submit(w.pod("next", "1", 2*time.Second))
	killed(t, "nominate", "ungate", "mark")
	killed(t, "record-empty")
	w.phase("first", corev1.PodSucceeded)
	w.phase("next", corev1.PodSucceeded)
	node := w.node("empty")
	w.bind("by-hand", node.Name)
	killed(t, "record-busy")
	w.phase("by-hand", corev1.PodRunning)
	w.delete("by-hand")

	w.submit(w.pod("second", "3", 2*time.Second))
	killed(t, "unmark")
	killed(t, "fence") // with all that comes before
	w.phase("second", corev1.PodSucceeded)

	w.submit(w.pod("third", "3", 2*time.Second))
	killed(t, "unfence")
	killed(t, "commit")
	w.phase("third", corev1.PodSucceeded)
	w.node("deleting")
	killed(t, "delete", "forget")
	w.atRest(1)
}

// A pod that reaches a node after the commitment is evicted, also by the next
// leader, and the deletion is not taken back.
func killedAtEviction(t *testing.T) {
	w := newWorld(t, "kills")
	ready(t, own(t, rig.ProcessOptions{Args: []string{"--capacity=false"}}))
	w.submit(w.pod("first", "3", time.Second))
	killedAt(t, "commit:after")
	node := w.node("deleting")
	w.withoutFence(node.Name, func() { w.bind("late", node.Name) })
	// The machine stays until the late pod is seen to.
	w.Azure.Cloud().AddFaults(emulator.Fault{Operation: deleteAction, Set: w.pool, Effect: emulator.Effect{Error: &emulator.Error{
		Status: 409, Code: "Conflict", Message: "Another operation is in progress.",
	}}})
	t.Cleanup(w.Azure.Cloud().ClearFaults)
	killed(t, "evict")
	w.Azure.Cloud().ClearFaults()

	replica(t, rig.ProcessOptions{Standby: true, Args: capacityOnly})
	w.atRest(1)
	w.eventually("the late pod is gone", func() error {
		if _, err := w.Client.CoreV1().Pods(w.namespace).Get(t.Context(), "late", metav1.GetOptions{}); !isGone(err) {
			return fmt.Errorf("reading it: %v", err)
		}
		return nil
	})
}

// deleteAction is Azure's name for a deletion by instance IDs.
const deleteAction = "Microsoft.Compute/virtualMachineScaleSets/delete/action"

// othersRest says which node of another test is not where it stays.
func (w *world) othersRest() error {
	list, err := w.Client.CoreV1().Nodes().List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	stays := 0
	for _, n := range list.Items {
		if n.Name == rig.ServerNode || pools[n.Labels[api.PoolLabel]][api.MinTag] == "1" && state(&n) == "adopted" {
			stays++
		}
	}
	if stays != 3 || len(list.Items) != stays {
		return fmt.Errorf("%d of %d nodes stay, want the server and the one machine of each of the two pools that have a minimum", stays, len(list.Items))
	}
	return nil
}
