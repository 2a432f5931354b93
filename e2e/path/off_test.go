package path

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// A pool that keeps its machines off starts one before it buys one, and deletes it
// when an operator asks for that.
func TestDeallocate(t *testing.T) {
	w := newWorld(t, "off")
	t.Parallel()
	tidegate(t)
	w.submit(w.pod("first", "3", time.Second))
	w.phase("first", corev1.PodSucceeded)
	w.off(1)
	w.submit(w.pod("second", "3", time.Second))
	w.phase("second", corev1.PodSucceeded)
	node := w.off(2)
	if bought, started := w.count(emulator.InstanceCreated), w.count(emulator.InstanceStarting); bought != 1 || started != 1 {
		t.Errorf("%d machines were bought and %d started, want one each", bought, started)
	}
	w.annotate(node.Name, api.RetireAnnotation, `"delete"`)
	w.atRest(1)
}
