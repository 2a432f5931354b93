package verify

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// tallyKey names what is counted: the pods of a namespace that match a
// selector, or (owners) those that have an anti-affinity term with it.
type tallyKey struct {
	topology, selector, namespace string
	owners                        bool
}

// tally counts pods by the domain of their machine.
type tally struct {
	selector *metav1.LabelSelector
	count    map[string]int
	total    int
}

// matching counts the pods that match the selector.
func (r *replay) matching(topology string, s *metav1.LabelSelector, namespace string) (tallyKey, *tally) {
	key := tallyKey{topology, text(s), namespace, false}
	return key, r.tally(key, s)
}

// tally returns the count for the key; the first time it looks through the
// pods that are there.
func (r *replay) tally(key tallyKey, s *metav1.LabelSelector) *tally {
	t := r.tallies[key]
	if t == nil {
		t = &tally{selector: s, count: map[string]int{}}
		r.tallies[key] = t
		for _, p := range r.placed {
			t.record(key, p, r.machines[p.machine])
		}
	}
	return t
}

// record counts the pod if it is one of those that the key names.
func (t *tally) record(key tallyKey, p placement, on Machine) {
	domain, ok := on.Labels[key.topology]
	if !ok || p.pod.Namespace != key.namespace {
		return
	}
	counts := false
	if key.owners {
		for _, term := range antiAffinity(p.pod) {
			counts = counts || term.TopologyKey == key.topology && text(term.LabelSelector) == key.selector
		}
	} else {
		counts = matches(t.selector, p.pod.Labels)
	}
	if counts {
		t.count[domain]++
		t.total++
	}
}
