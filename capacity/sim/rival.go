package sim

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// rivalName is the name of another scheduler, which knows nothing of marks and
// picks its nodes at the worst of times: whenever a node's retirement takes a
// step. The API servers let it have those that they have not seen fenced.
const rivalName = "rival"

// rival lets the other scheduler bind a pod to the node, perhaps.
func (w *World) rival(before, after *corev1.Node) {
	if w.faults.rivals == 0 || !w.troubled() || before == nil || stage(before) == stage(after) || w.chance.IntN(w.faults.rivals) > 0 {
		return
	}
	w.rivals++
	pod := newStranger(w.chance, w.rivals)
	pod.Name, pod.Spec.SchedulerName = fmt.Sprintf("x%02d", w.rivals), rivalName
	pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	delay := time.Duration(w.chance.Int64N(int64(100 * time.Millisecond)))
	if w.chance.IntN(4) == 0 {
		delay = time.Duration(w.chance.Int64N(int64(30 * time.Second)))
	}
	w.Loop.In(0, func() {
		w.Cluster.CreatePod(byUser, pod)
		w.Loop.In(delay, func() {
			w.Cluster.Bind(rivalName, pod, after.Name, func() {
				_ = w.Cluster.DeletePod(byUser, pod) // it may be gone
			})
		})
	})
}

// stage is how far the node's retirement has come.
func stage(node *corev1.Node) string {
	_, deleting := node.Annotations[api.DeletingAnnotation]
	retirement := api.RetirementOf(node)
	return fmt.Sprint(deleting, api.FenceToken(node), retirement != nil, retirement != nil && retirement.EmptySince != nil)
}
