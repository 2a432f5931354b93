package webhook

import (
	"context"
	"encoding/json"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/tidegate-k3s/tidegate/api"
)

// podHandler gates pods at their creation, the only moment at which a gate can
// be set.
type podHandler struct {
	status statusReader
	// namespaceOptIn is true for pods of a namespace that opts its Jobs in.
	namespaceOptIn bool
}

func (h podHandler) Handle(ctx context.Context, req admission.Request) admission.Response {
	if req.Operation != admissionv1.Create || req.Resource.Resource != "pods" || req.SubResource != "" {
		return admission.Allowed("")
	}
	var pod corev1.Pod
	if err := json.Unmarshal(req.Object.Raw, &pod); err != nil {
		return unreadable(err)
	}
	if outOfScope(&pod, req.Namespace) {
		return admission.Allowed("")
	}
	request, err := api.ParsePodRequest(pod.Annotations)
	warnings := sentences(err)
	response := admission.Allowed("")
	if optedIn(request, h.namespaceOptIn && api.OwnedByJob(&pod)) {
		warnings = append(warnings, shortfalls(&pod, request.Pool, h.status.pools(ctx))...)
		if !api.HasCapacityGate(&pod) {
			response = admission.Patched("", addGate(&pod))
		}
	}
	return response.WithWarnings(warnings...)
}

// outOfScope reports whether the pod is never gated: it has a node already, it
// goes with its node, or the cluster or Tidegate itself may not come up
// without it.
func outOfScope(pod *corev1.Pod, namespace string) bool {
	return pod.Spec.NodeName != "" || api.OwnedByDaemonSet(pod) || api.IsMirror(pod) ||
		namespace == metav1.NamespaceSystem || namespace == api.Namespace
}

// optedIn decides by the pod's own word, and without one by its namespace's.
func optedIn(request api.PodRequest, byNamespace bool) bool {
	if request.OptIn != nil {
		return *request.OptIn
	}
	return byNamespace
}

// addGate is written by hand, not as a difference of two pods: decoding drops
// the fields that this build does not know, and a difference would delete them.
func addGate(pod *corev1.Pod) jsonpatch.Operation {
	gate := corev1.PodSchedulingGate{Name: api.CapacityGate}
	if len(pod.Spec.SchedulingGates) == 0 {
		return jsonpatch.NewOperation("add", "/spec/schedulingGates", []corev1.PodSchedulingGate{gate})
	}
	return jsonpatch.NewOperation("add", "/spec/schedulingGates/-", gate)
}
