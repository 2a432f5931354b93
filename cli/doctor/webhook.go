package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
)

// gateWebhook is the webhook of pods that opt in themselves.
const gateWebhook = "gate.tidegate.io"

// webhook has the API server admit, and not keep, a pod that opts in: it calls
// the webhook for that, or applies the policy in its place, as for any other.
func webhook(ctx context.Context, p Patient) Finding {
	yes, no := true, false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, GenerateName: "tidegate-doctor-",
			Annotations: map[string]string{api.GateKey: "true"},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			// Every Pod Security level allows it.
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   &yes,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "nothing", Image: "nothing",
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no,
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
	err := p.Client.Create(ctx, pod, client.DryRunAll)
	switch {
	case err == nil && api.HasCapacityGate(pod):
		return ok("a pod that opts in is gated")
	case err == nil && failsOpen(ctx, p):
		return failed("see what workloads and authority find; beyond these it may be a firewall between API server and webhook", "a pod that opts in comes in without the gate: the webhook does not answer, and its configuration ignores that")
	case err == nil:
		gates := "the webhook's configuration"
		if p.way == withAdmissionPolicy {
			gates = "the admission policy " + api.GatePolicy + ", or its binding,"
		}
		return failed(p.way.reinstall(), "a pod that opts in is not gated: %s is missing or leaves it out", gates)
	case strings.Contains(err.Error(), "failed calling webhook"):
		return failed("the text says what the API server met: a certificate (see authority), nobody listening (see workloads), or a firewall between them", "pods that opt in are refused: %v", err)
	case apierrors.IsForbidden(err):
		return unread(fmt.Sprintf("a dry run: pods cannot be created in namespace %s", metav1.NamespaceDefault), err)
	}
	return failed("the text says why", "a pod that opts in is not admitted: %v", err)
}

// failsOpen reports whether pods that opt in are let in while the webhook does
// not answer.
func failsOpen(ctx context.Context, p Patient) bool {
	var c admissionv1.MutatingWebhookConfiguration
	if err := p.Client.Get(ctx, client.ObjectKey{Name: api.WebhookConfiguration}, &c); err != nil {
		return false
	}
	return slices.ContainsFunc(c.Webhooks, func(w admissionv1.MutatingWebhook) bool {
		return w.Name == gateWebhook && w.FailurePolicy != nil && *w.FailurePolicy == admissionv1.Ignore
	})
}
