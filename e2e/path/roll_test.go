package path

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

// The scale set gets another model while its machine is at work: that work ends
// in peace, new work goes to a machine of the new model.
func TestRoll(t *testing.T) {
	w := newWorld(t, "roll")
	t.Parallel()
	tidegate(t)
	work := w.pod("old", "3", 0)
	work.Annotations[cluster.RunFor] = "180s" // the machines are listed once a minute
	w.submit(work)
	w.phase("old", corev1.PodRunning)
	old := w.node("adopted")
	bought := w.count(emulator.InstanceCreated) // the first one may have been there before
	w.Azure.Cloud().ChangeModel(w.pool)
	w.within(2*patience, "the node is marked, although the minimum needs it", func() error {
		if n := w.nodes(); len(n) != 1 || !api.Marked(&n[0]) {
			return errors.New("it is not")
		}
		return nil
	})
	w.submit(w.pod("new", "3", time.Second)) // there is room for it on the old machine
	if p := w.phase("new", corev1.PodSucceeded); p.Spec.NodeName == old.Name {
		t.Errorf("the new pod ran on %s, which is outdated", old.Name)
	}
	if p := w.get("old"); p.Status.Phase != corev1.PodRunning || w.count(emulator.InstanceCreated) != bought+1 {
		t.Errorf("meanwhile the old pod is %s, and %d machines were bought", p.Status.Phase, w.count(emulator.InstanceCreated)-bought)
	}
	w.within(3*time.Minute, "the old pod ends in peace", func() error {
		if p := w.get("old"); p.Status.Phase != corev1.PodSucceeded || p.Spec.NodeName != old.Name {
			return fmt.Errorf("it is %s on %s", p.Status.Phase, p.Spec.NodeName)
		}
		return nil
	})
	w.eventually("only the new machine is left", func() error {
		if deleted := w.count(emulator.InstanceDeleted); deleted != 1 || len(w.nodes()) != 1 {
			return fmt.Errorf("%d machines were deleted, %d nodes are there", deleted, len(w.nodes()))
		}
		return nil
	})
	if n := w.node("adopted"); n.Name == old.Name {
		t.Errorf("%s is left, which is outdated", n.Name)
	}
}
