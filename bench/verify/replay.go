package verify

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// replay is the cluster while pods are put onto it one after another.
type replay struct {
	machines []Machine
	domains  map[string][]domain // by topology key
	used     []corev1.ResourceList
	tallies  map[tallyKey]*tally
	placed   []placement
}

// domain is one value of a topology key.
type domain struct {
	name     string
	machines []int
}

func newReplay(machines []Machine) *replay {
	r := &replay{machines: machines, domains: map[string][]domain{}, tallies: map[tallyKey]*tally{}}
	index := map[[2]string]int{}
	for i, m := range machines {
		r.used = append(r.used, corev1.ResourceList{})
		for key, name := range m.Labels {
			at, known := index[[2]string{key, name}]
			if !known {
				at = len(r.domains[key])
				index[[2]string{key, name}] = at
				r.domains[key] = append(r.domains[key], domain{name: name})
			}
			r.domains[key][at].machines = append(r.domains[key][at].machines, i)
		}
	}
	return r
}

// inOrder puts the pods onto their machines in this order, trying those whose
// rules do not hold yet again and again, and returns those that never fit.
func (r *replay) inOrder(waiting []placement) []placement {
	for {
		var blocked []placement
		for _, p := range waiting {
			if r.objection(p) != "" {
				blocked = append(blocked, p)
				continue
			}
			r.put(p)
		}
		if len(blocked) == 0 || len(blocked) == len(waiting) {
			return blocked
		}
		waiting = blocked
	}
}

// spreadingFirst looks for an order itself. Pods that spread come first, for as
// long as they can, since any pod may make a domain too full for them; another
// pod comes before them only where it fills a domain that one of them waits for.
func (r *replay) spreadingFirst(placements []placement) []placement {
	var spreading, others []placement
	for _, p := range placements {
		if len(p.pod.Spec.TopologySpreadConstraints) > 0 {
			spreading = append(spreading, p)
		} else {
			others = append(others, p)
		}
	}
	spreading = r.inOrder(spreading)
	for len(spreading) > 0 {
		short := r.shortOf(spreading)
		i := slices.IndexFunc(others, func(p placement) bool {
			return slices.ContainsFunc(short, func(s shortage) bool { return s.endsWith(p, r.machines[p.machine]) }) && r.objection(p) == ""
		})
		if i < 0 {
			break
		}
		r.put(others[i])
		others = slices.Delete(others, i, i+1)
		spreading = r.inOrder(spreading)
	}
	return r.inOrder(append(others, spreading...))
}

// shortage is what a blocked pod waits for: another pod of those that are
// counted, in a domain with the fewest.
type shortage struct {
	tally  *tally
	key    tallyKey
	fewest int
}

func (r *replay) shortOf(blocked []placement) []shortage {
	var short []shortage
	for _, p := range blocked {
		for i := range p.pod.Spec.TopologySpreadConstraints {
			c := &p.pod.Spec.TopologySpreadConstraints[i]
			key, t := r.matching(c.TopologyKey, c.LabelSelector, p.pod.Namespace)
			s := shortage{t, key, r.fewest(p.pod, c.TopologyKey, t)}
			if !slices.Contains(short, s) {
				short = append(short, s)
			}
		}
	}
	return short
}

func (s shortage) endsWith(p placement, on Machine) bool {
	return s.tally.count[on.Labels[s.key.topology]] == s.fewest && s.key.namespace == p.pod.Namespace && matches(s.tally.selector, p.pod.Labels)
}

// objection says which rule keeps the pod off its machine now, "" for none.
func (r *replay) objection(p placement) string {
	node := r.machines[p.machine]
	switch {
	case !r.room(p):
		return "resources"
	case !selected(p.pod, node.Labels):
		return "node selector or node affinity"
	}
	for i := range p.pod.Spec.TopologySpreadConstraints {
		if c := &p.pod.Spec.TopologySpreadConstraints[i]; !r.evenly(p.pod, node, c) {
			return "topology spread over " + c.TopologyKey
		}
	}
	for _, term := range affinity(p.pod) {
		_, t := r.matching(term.TopologyKey, term.LabelSelector, p.pod.Namespace)
		domain, ok := node.Labels[term.TopologyKey]
		first := t.total == 0 && matches(term.LabelSelector, p.pod.Labels)
		if !ok || t.count[domain] == 0 && !first {
			return "pod affinity in " + term.TopologyKey
		}
	}
	for _, term := range antiAffinity(p.pod) {
		_, t := r.matching(term.TopologyKey, term.LabelSelector, p.pod.Namespace)
		if domain, ok := node.Labels[term.TopologyKey]; ok && t.count[domain] > 0 {
			return "its anti-affinity in " + term.TopologyKey
		}
	}
	for key, t := range r.tallies {
		if domain, ok := node.Labels[key.topology]; ok && key.owners && t.count[domain] > 0 && key.namespace == p.pod.Namespace && matches(t.selector, p.pod.Labels) {
			return "another pod's anti-affinity in " + key.topology
		}
	}
	return ""
}

// evenly reports whether the constraint allows one more pod in the machine's
// domain: its matching pods, this one among them if it matches, may exceed the
// domain with the fewest by no more than the skew.
func (r *replay) evenly(pod *corev1.Pod, node Machine, c *corev1.TopologySpreadConstraint) bool {
	domain, ok := node.Labels[c.TopologyKey]
	if !ok {
		return false
	}
	_, t := r.matching(c.TopologyKey, c.LabelSelector, pod.Namespace)
	here := t.count[domain]
	if matches(c.LabelSelector, pod.Labels) {
		here++
	}
	return here-r.fewest(pod, c.TopologyKey, t) <= int(c.MaxSkew)
}

// fewest is the smallest count in a domain that has a machine which the pod's
// node selector and affinity accept.
func (r *replay) fewest(pod *corev1.Pod, key string, t *tally) int {
	fewest := -1
	for _, d := range r.domains[key] {
		if fewest >= 0 && t.count[d.name] >= fewest {
			continue
		}
		if slices.ContainsFunc(d.machines, func(i int) bool { return selected(pod, r.machines[i].Labels) }) {
			fewest = t.count[d.name]
		}
		if fewest == 0 {
			break
		}
	}
	return fewest
}

// put binds the pod to its machine.
func (r *replay) put(p placement) {
	for name, q := range requests(p.pod) {
		sum := r.used[p.machine][name]
		sum.Add(q)
		r.used[p.machine][name] = sum
	}
	for _, term := range antiAffinity(p.pod) {
		// Those that have the term are counted from the first of them on.
		r.tally(tallyKey{term.TopologyKey, text(term.LabelSelector), p.pod.Namespace, true}, term.LabelSelector)
	}
	r.placed = append(r.placed, p)
	for key, t := range r.tallies {
		t.record(key, p, r.machines[p.machine])
	}
}

// room reports whether the machine still has what the pod requests.
func (r *replay) room(p placement) bool {
	for name, want := range requests(p.pod) {
		sum := r.used[p.machine][name]
		sum.Add(want)
		if sum.Cmp(r.machines[p.machine].Allocatable[name]) > 0 {
			return false
		}
	}
	return true
}

// requests is what the pod's containers ask for, and itself as one pod.
func requests(p *corev1.Pod) corev1.ResourceList {
	sum := corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(1, resource.DecimalSI)}
	for i := range p.Spec.Containers {
		for name, q := range p.Spec.Containers[i].Resources.Requests {
			total := sum[name]
			total.Add(q)
			sum[name] = total
		}
	}
	return sum
}
