package path

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// An operator asks for a restart and then for a reimage: the node's work runs to
// its end first, each happens once, and the machine serves again.
func TestRestartAndReimage(t *testing.T) {
	w := newWorld(t, "again")
	t.Parallel()
	tidegate(t)
	w.submit(w.pod("work", "3", 10*time.Second))
	w.phase("work", corev1.PodRunning)
	node := w.node("adopted")
	for i, fate := range []api.Fate{api.FateRestart, api.FateReimage} {
		w.annotate(node.Name, api.RetireAnnotation, `"`+string(fate)+`"`)
		w.eventually("the machine starts again", func() error {
			if n := w.count(emulator.InstanceStarting); n != i+1 {
				return fmt.Errorf("it was restarted %d times", n)
			}
			return nil
		})
		if p := w.get("work"); p.Status.Phase != corev1.PodSucceeded {
			t.Errorf("the pod is %s when its machine is restarted", p.Status.Phase)
		}
		w.eventually("the node is back, and nothing of the request is left", func() error {
			nodes := w.nodes()
			if len(nodes) != 1 || nodes[0].Annotations[api.VMIDAnnotation] == "" {
				return fmt.Errorf("nodes %v", len(nodes))
			}
			n := &nodes[0]
			if n.Annotations[api.RetireAnnotation] != "" || api.RestartOf(n) != nil || n.Status.NodeInfo.BootID == node.Status.NodeInfo.BootID {
				return fmt.Errorf("it is %s, annotations %v, boot %s", state(n), n.Annotations, n.Status.NodeInfo.BootID)
			}
			node = n
			return nil
		})
	}
	w.submit(w.pod("more", "3", time.Second))
	w.phase("more", corev1.PodSucceeded)
	w.atRest(1)
	if n := w.count(emulator.InstanceStarting); n != 2 {
		t.Errorf("the machine was restarted %d times, want once for each request", n)
	}
}
