package mix

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// kind names which of the mix's rules a pod has.
func kind(p *corev1.Pod) string {
	switch a := p.Spec.Affinity; {
	case len(p.Spec.TopologySpreadConstraints) > 0:
		return "spread over " + p.Spec.TopologySpreadConstraints[0].TopologyKey
	case a == nil:
		return "plain"
	case a.PodAffinity != nil:
		return "together in " + a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].TopologyKey
	}
	return "apart in " + p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].TopologyKey
}

func TestPods(t *testing.T) {
	pods := Pods(1003)
	got := map[string]int{}
	for _, p := range pods {
		got[kind(p)]++
	}
	want := map[string]int{
		"plain": 203,
		"spread over topology.kubernetes.io/zone": 200,
		"spread over kubernetes.io/hostname":      200,
		"together in topology.kubernetes.io/zone": 200,
		"apart in kubernetes.io/hostname":         200,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(pods, Pods(1003)); diff != "" {
		t.Errorf("the second draw differs (-first +second):\n%s", diff)
	}
}

// TestOffers holds the catalogue to what Karpenter's documentation of it says.
func TestOffers(t *testing.T) {
	offers := Offers(InstanceTypes())
	if len(offers) != 2000 {
		t.Fatalf("%d offers, want 400 types in three zones on demand and two as spot", len(offers))
	}
	first := offers[0]
	want := map[string]string{
		"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "fake-it-0",
		"topology.kubernetes.io/zone": "test-zone-1", "karpenter.sh/capacity-type": "spot", "integer": "1", "size": "small",
	}
	if diff := cmp.Diff(want, first.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if cpu := first.Allocatable.Cpu().MilliValue(); cpu != 900 {
		t.Errorf("%d thousandths of a CPU, want 1000 less 100 for the kubelet", cpu)
	}
}
