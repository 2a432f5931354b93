package path

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// After the fence the API server itself refuses every way to a node, also while
// nobody but it is alive; what came just before takes the fence back.
func TestBoundAroundTheFence(t *testing.T) {
	w := newWorld(t, "fence")
	ready(t, own(t, rig.ProcessOptions{Args: []string{"--capacity=false"}}))
	w.submit(w.pod("first", "3", time.Second))
	killedAt(t, "fence:after")
	node := w.node("fenced")
	w.eventually("the fence is enforced", func() error { return w.fenceStands(node.Name) })

	w.submit(w.unscheduled("by-hand"))
	withNode := w.unscheduled("with-node")
	withNode.Spec.NodeName = node.Name
	older := w.Client.CoreV1().RESTClient().Post().Namespace(w.namespace).Resource("bindings").Body(binding(w.namespace, "by-hand", node.Name))
	_, createErr := w.Client.CoreV1().Pods(w.namespace).Create(t.Context(), withNode, metav1.CreateOptions{})
	for name, err := range map[string]error{
		"a binding":              w.tryBind("by-hand", node.Name),
		"a binding the old way":  older.Do(t.Context()).Error(),
		"a pod with a node name": createErr,
	} {
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), api.FenceRefusal(string(node.UID), api.FenceToken(node))) {
			t.Errorf("%s: %v, want the fence's refusal", name, err)
		}
	}
	mirror := w.unscheduled("mirror")
	mirror.Spec.NodeName = node.Name
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "hash"}
	w.submit(mirror)

	w.withoutFence(node.Name, func() {
		if err := w.tryBind("by-hand", node.Name); err != nil {
			t.Fatal(err)
		}
	})
	replica(t, rig.ProcessOptions{Standby: true, Args: capacityOnly})
	w.event("default", node.Name, "Unfenced", "pod "+w.namespace+"/by-hand is on it")
	w.node("marked") // it may go when the pod has gone
	w.phase("by-hand", corev1.PodRunning)
	if n := w.count(emulator.InstanceDeleting); n != 0 {
		t.Errorf("%d machines were deleted", n)
	}
	w.delete("by-hand")
	w.atRest(1)
}
