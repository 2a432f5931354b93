// Package verify judges where pods were put, by its own reading of their
// specs: it shares no code with the planners that it judges. It knows the
// fields that the benchmarks use and refuses pods with others.
package verify

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Machine is one node that was planned, empty at first.
type Machine struct {
	// Labels include a host name of its own.
	Labels map[string]string
	// Allocatable is what pods may request of it in all.
	Allocatable corev1.ResourceList
}

// Finding is a pod whose place breaks a rule, or that has none.
type Finding struct {
	Pod *corev1.Pod
	Why string
}

// Check judges a plan in which each pod has the machine with that number, by
// UID, and returns what breaks a rule of kube-scheduler; the pods come in the
// order in which the planner took them up. It fails on pods with rules that it
// does not know.
//
// Topology spread and pod affinity have to hold when a pod is bound and not
// afterwards, so the plan is replayed: all machines are there, and pod after pod
// is put onto its own. It is enough if there is one order in which the rules of
// each hold at its turn; two are tried, the given one and one of the replay's
// own.
func Check(pods []*corev1.Pod, machines []Machine, places map[types.UID]int) ([]Finding, error) {
	var found []Finding
	var placed []placement
	for _, p := range pods {
		if err := readable(p); err != nil {
			return nil, err
		}
		at, ok := places[p.UID]
		if !ok || at < 0 || at >= len(machines) {
			found = append(found, Finding{p, "it has no place"})
			continue
		}
		placed = append(placed, placement{p, at})
	}
	r := newReplay(machines)
	left := r.inOrder(placed)
	if len(left) > 0 {
		again := newReplay(machines)
		if other := again.spreadingFirst(placed); len(other) < len(left) {
			r, left = again, other
		}
	}
	for _, p := range left {
		found = append(found, Finding{p.pod, r.objection(p)})
	}
	return found, nil
}

// placement is a pod and the number of its machine.
type placement struct {
	pod     *corev1.Pod
	machine int
}

// readable refuses pods with rules that this package does not judge.
func readable(p *corev1.Pod) error {
	s := &p.Spec
	unread := len(s.InitContainers) > 0 || len(s.Overhead) > 0 || len(s.Volumes) > 0 || len(s.ResourceClaims) > 0 || s.Resources != nil
	for _, c := range s.Containers {
		unread = unread || len(c.Ports) > 0
	}
	for _, c := range s.TopologySpreadConstraints {
		unread = unread || c.WhenUnsatisfiable != corev1.DoNotSchedule || c.MinDomains != nil || len(c.MatchLabelKeys) > 0 ||
			c.NodeAffinityPolicy != nil || c.NodeTaintsPolicy != nil
	}
	for _, t := range append(affinity(p), antiAffinity(p)...) {
		unread = unread || len(t.Namespaces) > 0 || t.NamespaceSelector != nil || len(t.MatchLabelKeys) > 0 || len(t.MismatchLabelKeys) > 0
	}
	if unread || len(affinity(p)) > 1 {
		return fmt.Errorf("pod %s has rules that this verifier does not judge: teach it to", p.Name)
	}
	return nil
}
