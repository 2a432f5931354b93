// Package verify judges where pods were put, by its own reading of their
// specs: it shares no code with the planners that it judges. It knows the
// fields that the benchmarks use and refuses pods with others.
package verify

import (
	"errors"
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

// Placement says which of the machines, by number, a pod was planned for.
type Placement struct {
	Pod     *corev1.Pod
	Machine int
}

// shown bounds how many findings an error lists.
const shown = 5

// Check reports how the placements break a rule of kube-scheduler, or leave
// one of the pods out; nil if they do neither.
//
// Topology spread and pod affinity have to hold when a pod is bound and not
// afterwards, so the placements are replayed: all machines are there, and pod
// after pod is put onto its machine. It is enough if there is one order in
// which the rules of each pod hold at its turn; two are tried, the given one and
// one of the replay's own.
func Check(pods []*corev1.Pod, machines []Machine, placements []Placement) error {
	var found []error
	report := func(format string, args ...any) { found = append(found, fmt.Errorf(format, args...)) }

	places := make(map[types.UID]int, len(placements))
	for _, p := range placements {
		if p.Machine < 0 || p.Machine >= len(machines) {
			return fmt.Errorf("pod %s is on machine %d of %d", p.Pod.Name, p.Machine, len(machines))
		}
		if _, twice := places[p.Pod.UID]; twice {
			report("pod %s is placed twice", p.Pod.Name)
		}
		places[p.Pod.UID] = p.Machine
	}
	for _, p := range pods {
		if err := readable(p); err != nil {
			return err
		}
		if _, placed := places[p.UID]; !placed {
			report("pod %s has no place", p.Name)
		}
	}
	if len(placements) > len(pods) {
		report("%d pods are placed, there are %d", len(placements), len(pods))
	}
	r := newReplay(machines)
	left := r.inOrder(placements)
	if len(left) > 0 {
		again := newReplay(machines)
		if other := again.spreadingFirst(placements); len(other) < len(left) {
			r, left = again, other
		}
	}
	for _, p := range left {
		report("pod %s does not fit machine %d: %s", p.Pod.Name, p.Machine, r.objection(p))
	}
	if len(found) > shown {
		found = append(found[:shown], fmt.Errorf("and %d more", len(found)-shown))
	}
	return errors.Join(found...)
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
