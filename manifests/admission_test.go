package manifests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/webhook"
)

func TestWebhooks(t *testing.T) {
	type entry struct {
		Path   string
		Policy admissionregv1.FailurePolicyType
	}
	service := one[*corev1.Service](t, "")
	got := map[string]entry{}
	check := func(name string, c admissionregv1.WebhookClientConfig, policy *admissionregv1.FailurePolicyType, effects *admissionregv1.SideEffectClass, timeout *int32, conditions []admissionregv1.MatchCondition) {
		got[name] = entry{*c.Service.Path, *policy}
		if c.Service.Namespace != service.Namespace || c.Service.Name != service.Name {
			t.Errorf("%s calls service %s/%s, want %s/%s", name, c.Service.Namespace, c.Service.Name, service.Namespace, service.Name)
		}
		if *effects != admissionregv1.SideEffectClassNone || *timeout > 5 || len(conditions) == 0 {
			t.Errorf("%s: side effects %s, time-out %d s, %d conditions; want none, at most 5 s, at least one", name, *effects, *timeout, len(conditions))
		}
	}
	for _, w := range one[*admissionregv1.MutatingWebhookConfiguration](t, "").Webhooks {
		check(w.Name, w.ClientConfig, w.FailurePolicy, w.SideEffects, w.TimeoutSeconds, w.MatchConditions)
		if !excludesTheSystem(w.NamespaceSelector.MatchExpressions) {
			t.Errorf("%s does not leave out kube-system and %s", w.Name, api.Namespace)
		}
		if diff := cmp.Diff([]admissionregv1.OperationType{admissionregv1.Create}, w.Rules[0].Operations); diff != "" {
			t.Errorf("%s: operations (-want +got):\n%s", w.Name, diff)
		}
	}
	for _, w := range one[*admissionregv1.ValidatingWebhookConfiguration](t, "").Webhooks {
		check(w.Name, w.ClientConfig, w.FailurePolicy, w.SideEffects, w.TimeoutSeconds, w.MatchConditions)
		if !excludesTheSystem(w.NamespaceSelector.MatchExpressions) {
			t.Errorf("%s does not leave out kube-system and %s", w.Name, api.Namespace)
		}
	}
	want := map[string]entry{
		"gate.tidegate.io":           {webhook.MutatePodsPath, admissionregv1.Fail},
		"namespace-gate.tidegate.io": {webhook.MutatePodsByNamespacePath, admissionregv1.Fail},
		"unclear-gate.tidegate.io":   {webhook.MutatePodsPath, admissionregv1.Ignore},
		"jobs.tidegate.io":           {webhook.ValidateJobsPath, admissionregv1.Ignore},
		"namespace-jobs.tidegate.io": {webhook.ValidateJobsByNamespacePath, admissionregv1.Ignore},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
}

// cert-manager writes the webhook's authority into the configurations, and the
// files that each workload reads.
func TestCertificates(t *testing.T) {
	service := one[*corev1.Service](t, "")
	wantNames := map[string][]string{
		"tidegate-webhook":  {service.Name + "." + service.Namespace + ".svc"},
		"tidegate-extender": {schedulerConfiguration(t).Extenders[0].TLSConfig.ServerName},
	}
	for name, volumes := range map[string][]corev1.Volume{
		"tidegate-webhook":  one[*appsv1.Deployment](t, "").Spec.Template.Spec.Volumes,
		"tidegate-extender": one[*appsv1.DaemonSet](t, "tidegate").Spec.Template.Spec.Volumes,
	} {
		certificate := one[*unstructured.Unstructured](t, name)
		dnsNames, _, err := unstructured.NestedStringSlice(certificate.Object, "spec", "dnsNames")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantNames[name], dnsNames); diff != "" {
			t.Errorf("names of certificate %s (-want +got):\n%s", name, diff)
		}
		secret, _, err := unstructured.NestedString(certificate.Object, "spec", "secretName")
		if err != nil {
			t.Fatal(err)
		}
		if got := volumes[0].Secret.SecretName; got != secret {
			t.Errorf("secret %q is mounted, the certificate is in %q", got, secret)
		}
	}
	certificate := one[*unstructured.Unstructured](t, "tidegate-webhook")
	want := certificate.GetNamespace() + "/" + certificate.GetName()
	for _, annotations := range []map[string]string{
		one[*admissionregv1.MutatingWebhookConfiguration](t, "").Annotations,
		one[*admissionregv1.ValidatingWebhookConfiguration](t, "").Annotations,
	} {
		if got := annotations["cert-manager.io/inject-ca-from"]; got != want {
			t.Errorf("the authority comes from %q, want %q", got, want)
		}
	}
}

// The proof of a fence accepts only this very sentence.
func TestFenceRefusesWithTheSentenceOfTheProof(t *testing.T) {
	policy := one[*admissionregv1.ValidatingAdmissionPolicy](t, api.FencePolicy)
	if len(policy.Spec.Validations) != 1 {
		t.Fatalf("the policy has %d validations, want one: the first that fails speaks", len(policy.Spec.Validations))
	}
	uid, token := "params.metadata.uid", fmt.Sprintf("params.metadata.labels['%s']", api.RetiredLabel)
	got, err := concatenation(policy.Spec.Validations[0].MessageExpression)
	if err != nil {
		t.Fatal(err)
	}
	if want := api.FenceRefusal(uid, token); got != want {
		t.Errorf("the policy says %q, want %q", got, want)
	}
}

// concatenation writes out a CEL sum of string literals and other terms, each
// term standing for its value.
func concatenation(expression string) (string, error) {
	var out strings.Builder
	for _, term := range strings.Split(expression, " + ") {
		term = strings.TrimSpace(term)
		if strings.HasPrefix(term, "'") {
			if !strings.HasSuffix(term, "'") || len(term) < 2 || strings.ContainsAny(term, `\\"`) {
				return "", fmt.Errorf("%s is no plain string literal", term)
			}
			term = term[1 : len(term)-1]
		}
		out.WriteString(term)
	}
	return out.String(), nil
}

func TestFenceCoversEveryWayToBind(t *testing.T) {
	spec := one[*admissionregv1.ValidatingAdmissionPolicy](t, api.FencePolicy).Spec
	if *spec.FailurePolicy != admissionregv1.Fail || *spec.ParamKind != (admissionregv1.ParamKind{APIVersion: "v1", Kind: "Node"}) {
		t.Errorf("failure policy %s, parameters %v; want Fail and Nodes", *spec.FailurePolicy, *spec.ParamKind)
	}
	if len(spec.MatchConstraints.ResourceRules) != 1 {
		t.Fatalf("the policy has %d rules, want one", len(spec.MatchConstraints.ResourceRules))
	}
	rule := spec.MatchConstraints.ResourceRules[0]
	slices.Sort(rule.Resources)
	if diff := cmp.Diff([]string{"bindings", "pods", "pods/binding"}, rule.Resources); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]admissionregv1.OperationType{admissionregv1.Create}, rule.Operations); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}

	binding := one[*admissionregv1.ValidatingAdmissionPolicyBinding](t, api.FencePolicy)
	want := admissionregv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName:        api.FencePolicy,
		ValidationActions: []admissionregv1.ValidationAction{admissionregv1.Deny},
		ParamRef: &admissionregv1.ParamRef{
			Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: api.RetiredLabel, Operator: metav1.LabelSelectorOpExists},
			}},
			ParameterNotFoundAction: new(admissionregv1.AllowAction),
		},
	}
	if diff := cmp.Diff(want, binding.Spec); diff != "" {
		t.Errorf("binding (-want +got):\n%s", diff)
	}
}
