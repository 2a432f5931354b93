package path

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

// A pod that asks for a pool stays with it, also when the scheduler cannot take
// the node that is planned for it while a machine of another pool has room.
func TestPoolAskedFor(t *testing.T) {
	w := newWorld(t, "asked")
	tidegate(t)
	other := &world{t: t, Rig: w.Rig, pool: "least"}
	other.node("adopted")

	if err := w.Cluster.StopComponent(cluster.Scheduler); err != nil {
		t.Fatal(err)
	}
	w.submit(w.pod("work", "3", time.Second))
	w.eventually("the pod is released", func() error {
		if p := w.get("work"); p.UID == "" || len(p.Spec.SchedulingGates) > 0 {
			return fmt.Errorf("it has the gates %v, and the condition %+v", p.Spec.SchedulingGates, condition(p))
		}
		return nil
	})
	node := w.get("work").Status.NominatedNodeName
	w.cordon(node, true)
	if err := w.Cluster.StartComponent(t.Context(), cluster.Scheduler); err != nil {
		t.Fatal(err)
	}
	w.eventually("the scheduler has looked at the pod", func() error {
		for _, c := range w.get("work").Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason != corev1.PodReasonSchedulingGated {
				return nil
			}
		}
		return errors.New("it has not")
	})
	w.cordon(node, false)
	if ended := w.phase("work", corev1.PodSucceeded); !strings.HasPrefix(ended.Spec.NodeName, w.pool+"0") {
		t.Errorf("the pod ran on %s, want a machine of %s\n%s", ended.Spec.NodeName, w.pool, logs())
	}
}

func (w *world) cordon(node string, unschedulable bool) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, unschedulable)
	if _, err := w.Client.CoreV1().Nodes().Patch(w.t.Context(), node, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
}
