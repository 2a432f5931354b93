package path

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// unscheduled returns a small pod that did not opt in and that no scheduler
// looks at.
func (w *world) unscheduled(name string) *corev1.Pod {
	p := w.pod(name, "1", 0)
	p.Annotations = nil
	p.Spec.SchedulerName = "by-hand"
	return p
}

// bind creates a pod and binds it to the node by hand.
func (w *world) bind(name, node string) {
	w.t.Helper()
	w.submit(w.unscheduled(name))
	if err := w.tryBind(name, node); err != nil {
		w.t.Fatalf("bind %s to %s: %v", name, node, err)
	}
}

func (w *world) tryBind(name, node string) error {
	return w.Client.CoreV1().Pods(w.namespace).Bind(w.t.Context(), binding(w.namespace, name, node), metav1.CreateOptions{})
}

func binding(namespace, pod, node string) *corev1.Binding {
	return &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
}

// fenceStands is nil if the API server refuses bindings to the node. It asks as
// the proof does, with a binding that changes nothing, of a pod that does not
// exist.
func (w *world) fenceStands(node string) error {
	b := binding(w.namespace, "nobody", node)
	err := w.Client.CoreV1().Pods(w.namespace).Bind(w.t.Context(), b, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsInvalid(err) {
		return nil
	}
	return fmt.Errorf("a binding to the node is not refused: %w", err)
}

// withoutFence does something to the fenced node while its fence is not
// enforced. So it looks when a request that was admitted before the fence is
// written after it.
func (w *world) withoutFence(node string, do func()) {
	w.t.Helper()
	bindings := w.Client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	saved, err := bindings.Get(w.t.Context(), api.FencePolicy, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	saved.ObjectMeta = metav1.ObjectMeta{Name: saved.Name}
	if err := bindings.Delete(w.t.Context(), api.FencePolicy, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if _, err := bindings.Create(w.t.Context(), saved, metav1.CreateOptions{}); err != nil {
			w.t.Fatal(err)
		}
		w.eventually("the fence is enforced again", func() error { return w.fenceStands(node) })
	}()
	w.eventually("the fence is no longer enforced", func() error {
		if w.fenceStands(node) == nil {
			return errors.New("it is")
		}
		return nil
	})
	do()
}
