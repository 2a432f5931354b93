package doctor

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
)

// fence compares the fence's policy and its binding with what was applied, in
// all that decides what they refuse.
func fence(ctx context.Context, p Patient) Finding {
	var policy, wantPolicy admissionv1.ValidatingAdmissionPolicy
	var binding, wantBinding admissionv1.ValidatingAdmissionPolicyBinding
	for _, pair := range []struct {
		kind       string
		want, live client.Object
	}{
		{"ValidatingAdmissionPolicy", &wantPolicy, &policy},
		{"ValidatingAdmissionPolicyBinding", &wantBinding, &binding},
	} {
		if err := p.decode(pair.kind, api.FencePolicy, pair.want); err != nil {
			return unread("the manifests", err)
		}
		err := p.Client.Get(ctx, client.ObjectKey{Name: api.FencePolicy}, pair.live)
		if apierrors.IsNotFound(err) {
			return failed(reinstall, "%s %s is missing, so no machine is ever deleted", pair.kind, api.FencePolicy)
		}
		if err != nil {
			return unread(pair.kind+" "+api.FencePolicy, err)
		}
	}
	if !samePolicy(wantPolicy.Spec, policy.Spec) {
		return failed(reinstall, "ValidatingAdmissionPolicy %s was changed", api.FencePolicy)
	}
	if !sameBinding(wantBinding.Spec, binding.Spec) {
		return failed(reinstall, "ValidatingAdmissionPolicyBinding %s was changed", api.FencePolicy)
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
