package path

import (
	"errors"
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
	work.Annotations[cluster.RunFor] = "100s" // the machines are listed once a minute
	w.submit(work)
	w.phase("old", corev1.PodRunning)
	old := w.node("adopted")
	w.Azure.Cloud().ChangeModel(w.pool)
	w.within(75*time.Second, "the node is marked, and says that its machine is outdated", func() error {
		n := w.nodes()
		if len(n) != 1 || !api.Marked(&n[0]) {
			return errors.New("it is not marked")
		}
		if _, ok := n[0].Annotations[api.OutdatedAnnotation]; !ok {
			return errors.New("it does not say so")
		}
		return nil
	})
	w.submit(w.pod("new", "3", time.Second)) // there is room for it on the old machine
	if p := w.phase("new", corev1.PodSucceeded); p.Spec.NodeName == old.Name {
		t.Errorf("the new pod ran on %s, which is outdated", old.Name)
	}
	if p := w.get("old"); p.Status.Phase != corev1.PodRunning || w.count(emulator.InstanceCreated) != 2 {
		t.Errorf("meanwhile the old pod is %s, and %d machines were bought", p.Status.Phase, w.count(emulator.InstanceCreated))
	}
	if p := w.phase("old", corev1.PodSucceeded); p.Spec.NodeName != old.Name {
		t.Errorf("the old pod ended on %s, want %s", p.Spec.NodeName, old.Name)
	}
}
