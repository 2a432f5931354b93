package doctor

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
)

// fence looks at what keeps pods from machines that are about to be deleted.
func fence(ctx context.Context, p Patient) Finding {
	return asApplied(ctx, p, api.FencePolicy, "no machine is ever deleted")
}

// agents looks at what keeps each agent to its own node: its Role cannot.
func agents(ctx context.Context, p Patient) Finding {
	err := p.Client.Get(ctx, client.ObjectKey{Name: api.AgentAccount}, &rbacv1.ClusterRoleBinding{})
	if apierrors.IsNotFound(err) {
		return ok("no agent may write on nodes")
	}
	if err != nil {
		return unread("ClusterRoleBinding "+api.AgentAccount, err)
	}
	return asApplied(ctx, p, api.AgentPolicy, "the agent of any machine may write on all nodes")
}

// asApplied compares a policy and its binding with what was applied, in all that
// decides what they refuse.
func asApplied(ctx context.Context, p Patient, name, otherwise string) Finding {
	var policy, wantPolicy admissionv1.ValidatingAdmissionPolicy
	var binding, wantBinding admissionv1.ValidatingAdmissionPolicyBinding
	for _, pair := range []struct {
		kind       string
		want, live client.Object
	}{
		{"ValidatingAdmissionPolicy", &wantPolicy, &policy},
		{"ValidatingAdmissionPolicyBinding", &wantBinding, &binding},
	} {
		if err := p.decode(pair.kind, name, pair.want); err != nil {
			return unread("the manifests", err)
		}
		err := p.Client.Get(ctx, client.ObjectKey{Name: name}, pair.live)
		if apierrors.IsNotFound(err) {
			return failed(p.way.reinstall(), "%s %s is missing, so that %s", pair.kind, name, otherwise)
		}
		if err != nil {
			return unread(pair.kind+" "+name, err)
		}
	}
	if !samePolicy(wantPolicy.Spec, policy.Spec) {
		return failed(p.way.reinstall(), "ValidatingAdmissionPolicy %s was changed", name)
	}
	if !sameBinding(wantBinding.Spec, binding.Spec) {
		return failed(p.way.reinstall(), "ValidatingAdmissionPolicyBinding %s was changed", name)
	}
	return ok("policy and binding are as they were applied")
}

// decode finds the object of the manifests.
func (p Patient) decode(kind, name string, into client.Object) error {
	for _, o := range p.Objects {
		if o.GetKind() == kind && o.GetName() == name {
			return runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into)
		}
	}
	return fmt.Errorf("there is no %s %s among them", kind, name)
}

// samePolicy leaves out what the API server fills in by itself.
func samePolicy(want, live admissionv1.ValidatingAdmissionPolicySpec) bool {
	if want.MatchConstraints == nil || live.MatchConstraints == nil {
		return false
	}
	sameRule := func(a, b admissionv1.NamedRuleWithOperations) bool {
		return slices.Equal(a.APIGroups, b.APIGroups) && slices.Equal(a.APIVersions, b.APIVersions) &&
			slices.Equal(a.Resources, b.Resources) && slices.Equal(a.Operations, b.Operations) && slices.Equal(a.ResourceNames, b.ResourceNames)
	}
	return slices.EqualFunc(want.MatchConstraints.ResourceRules, live.MatchConstraints.ResourceRules, sameRule) &&
		selectsAll(live.MatchConstraints) &&
		equality.Semantic.DeepEqual(want.ParamKind, live.ParamKind) &&
		equality.Semantic.DeepEqual(want.FailurePolicy, live.FailurePolicy) &&
		equality.Semantic.DeepEqual(want.MatchConditions, live.MatchConditions) &&
		equality.Semantic.DeepEqual(want.Variables, live.Variables) &&
		equality.Semantic.DeepEqual(want.Validations, live.Validations)
}

func sameBinding(want, live admissionv1.ValidatingAdmissionPolicyBindingSpec) bool {
	return want.PolicyName == live.PolicyName &&
		slices.Equal(want.ValidationActions, live.ValidationActions) &&
		equality.Semantic.DeepEqual(want.ParamRef, live.ParamRef) &&
		equality.Semantic.DeepEqual(want.MatchResources, live.MatchResources)
}

// selectsAll reports whether nothing narrows the rules.
func selectsAll(m *admissionv1.MatchResources) bool {
	empty := func(s *metav1.LabelSelector) bool {
		return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0
	}
	return len(m.ExcludeResourceRules) == 0 && empty(m.NamespaceSelector) && empty(m.ObjectSelector)
}
