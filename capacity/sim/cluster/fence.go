package cluster

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tidegate-k3s/tidegate/api"
)

// bind answers a binding that a client of the API asks for. Those of the
// scheduler come by admitBinding and land later.
func (s *Server) bind(r request) (runtime.Object, error) {
	var binding corev1.Binding
	if err := decode(r.body, corev1.SchemeGroupVersion.WithKind("Binding"), &binding); err != nil {
		return nil, err
	}
	if err := s.admitBinding(binding.Target.Name, r.dryRun); err != nil {
		return nil, err
	}
	pod, err := s.object(r)
	if err != nil {
		return nil, err
	}
	if !r.dryRun {
		if err := s.cluster.land(r.by, pod.(*corev1.Pod), binding.Target.Name); err != nil {
			return nil, err
		}
	}
	return success(), nil
}

// Policy is what has become of the admission policies.
type Policy struct {
	// Missing is true while somebody has removed the fence's.
	Missing bool
	// Foreign is true while another policy refuses whatever is a trial only.
	Foreign bool
	// Unsynced is true while the fence's does not know the nodes yet.
	Unsynced bool
}

// admitBinding does what the ValidatingAdmissionPolicy does: it refuses a
// binding to a node that this server has seen fenced.
func (s *Server) admitBinding(node string, trial bool) error {
	policy := s.cluster.Policy
	if policy.Foreign && trial {
		return refusal("admission webhook \"trials.example.com\" denied the request: no dry runs in this cluster")
	}
	if policy.Missing {
		return nil
	}
	if policy.Unsynced {
		return refusal(fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: its parameters are not synced yet", api.FencePolicy, api.FencePolicy))
	}
	found, ok, _ := s.nodes.GetByKey(node)
	if !ok {
		return nil
	}
	n := found.(*corev1.Node)
	token, fenced := n.Labels[api.RetiredLabel]
	if !fenced {
		return nil
	}
	return refusal(fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s",
		api.FencePolicy, api.FencePolicy, api.FenceRefusal(string(n.UID), token)))
}

// refusal is how a policy refuses: 422, as the API server answers by default.
func refusal(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: message,
	}}
}
