package manifests

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// What the policy refuses is tested on a real API server; here, that it is
// about the names that the code uses, and that nothing weakens it.
func TestAgentPolicyIsAboutTheAgent(t *testing.T) {
	policy := one[*admissionregv1.ValidatingAdmissionPolicy](t, api.AgentPolicy)
	if got := *policy.Spec.FailurePolicy; got != admissionregv1.Fail {
		t.Errorf("failure policy %s, want Fail", got)
	}
	account := "'system:serviceaccount:" + api.ServerNamespace + ":" + api.AgentAccount + "'"
	if got := policy.Spec.MatchConditions; len(got) != 1 || got[0].Expression != "request.userInfo.username == "+account {
		t.Errorf("match conditions %+v, want only that it is %s", got, account)
	}
	var annotations []string
	for _, v := range policy.Spec.Validations {
		for _, word := range strings.FieldsFunc(v.Expression, func(r rune) bool { return r == '\'' || r == ' ' }) {
			if strings.HasPrefix(word, api.Group+"/") {
				annotations = append(annotations, word)
			}
		}
	}
	if want := []string{api.InterruptionsAnnotation, api.InterruptionsAnnotation}; !slices.Equal(annotations, want) {
		t.Errorf("the expressions name %v, want %v", annotations, want)
	}
	binding := one[*admissionregv1.ValidatingAdmissionPolicyBinding](t, api.AgentPolicy)
	want := admissionregv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: api.AgentPolicy, ValidationActions: []admissionregv1.ValidationAction{admissionregv1.Deny},
	}
	if diff := cmp.Diff(want, binding.Spec); diff != "" {
		t.Errorf("binding (-want +got):\n%s", diff)
	}
}

func TestAgentMayReadAndPatchNodesOnly(t *testing.T) {
	want := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "patch"}}}
	if diff := cmp.Diff(want, one[*rbacv1.ClusterRole](t, api.AgentAccount).Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// The agent runs on every machine of a pool, whatever befalls it, and on no
// server.
func TestAgentRunsOnThePoolsMachines(t *testing.T) {
	spec := one[*appsv1.DaemonSet](t, api.AgentAccount).Spec.Template.Spec
	terms := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	want := []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
		{Key: api.PoolLabel, Operator: corev1.NodeSelectorOpExists},
		{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.NodeSelectorOpDoesNotExist},
	}}}
	if diff := cmp.Diff(want, terms); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, spec.Tolerations); diff != "" {
		t.Errorf("tolerations (-want +got):\n%s", diff)
	}
	env := []corev1.EnvVar{{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}}}
	if diff := cmp.Diff(env, spec.Containers[0].Env); diff != "" || !slices.Equal(spec.Containers[0].Args, []string{"agent"}) {
		t.Errorf("arguments %v, environment (-want +got):\n%s", spec.Containers[0].Args, diff)
	}
}
