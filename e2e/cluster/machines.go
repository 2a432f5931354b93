package cluster

import (
	"context"
	_ "embed"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// A Node with this annotation and value is a machine that is switched on.
const (
	NodeAnnotation      = "kwok.x-k8s.io/node"
	NodeAnnotationValue = "fake"
)

// RunFor is the annotation of a pod that ends: so many seconds after its start it has succeeded ("40s" or "40"; whole
// seconds count). A pod without it runs until it is deleted.
const RunFor = "e2e.tidegate.io/run-for"

//go:embed dead-machines.yaml
var deadMachines []byte

//go:embed kwok.yaml
var kwokConfig []byte

// DeadMachines is the name of the admission policy, and of its binding, that silences machines that are switched off. It
// looks at every Node for every write of KWOK and every deletion of a pod: a large cluster is better off without it.
const DeadMachines = "e2e-dead-machines"

// silenceDeadMachines makes the API server refuse what KWOK reports for machines that are switched off. KWOK itself
// does not see that an annotation goes: it filters events by the new state, and never learns that a node left.
func (c *Cluster) silenceDeadMachines(ctx context.Context) error {
	var policy struct {
		Policy  admissionv1.ValidatingAdmissionPolicy        `json:"policy"`
		Binding admissionv1.ValidatingAdmissionPolicyBinding `json:"binding"`
	}
	if err := yaml.UnmarshalStrict(deadMachines, &policy); err != nil {
		return fmt.Errorf("parse dead-machines.yaml: %w", err)
	}
	admission := c.client.AdmissionregistrationV1()
	if _, err := admission.ValidatingAdmissionPolicies().Create(ctx, &policy.Policy, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the policy for dead machines: %w", err)
	}
	if _, err := admission.ValidatingAdmissionPolicyBindings().Create(ctx, &policy.Binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("bind the policy for dead machines: %w", err)
	}
	return nil
}
