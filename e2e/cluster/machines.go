package cluster

import (
	"context"
	_ "embed"
	"fmt"
	"net/url"
	"strconv"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

//go:embed dead-machines.yaml
var deadMachines []byte

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

// publishAPIServers lists the API servers as endpoints of the service kubernetes, which they do not do themselves on
// loopback addresses.
func (c *Cluster) publishAPIServers(ctx context.Context) error {
	var hosts []string
	var port int
	for _, server := range c.Servers {
		address, err := url.Parse(server)
		if err != nil {
			return err
		}
		hosts = append(hosts, address.Hostname())
		if port, err = strconv.Atoi(address.Port()); err != nil {
			return err
		}
	}
	return c.RouteService(ctx, metav1.NamespaceDefault, "kubernetes", "https", port, hosts...)
}
