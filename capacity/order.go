package capacity

import (
	"cmp"
	"slices"
)

// run is a row of units of one pod each that are all alike, or one gang.
type run struct {
	units []*unit
	kind  *kind // nil for a gang
}

// like reports whether the two single pods are placed alike.
func (u *unit) like(other *unit) bool {
	a, b := u.members[0], other.members[0]
	return !u.gang && !other.gang && a.kind == b.kind && (a.pod == nil) == (b.pod == nil) && u.buys == other.buys && u.leader.Priority == other.leader.Priority
}

// byAge are the units in the order in which they came: priority, then age.
func (p *planner) byAge() []run {
	var runs []run
	if len(p.kinds) > 1 {
		runs = make([]run, 0, len(p.units)) // as many as there are if the kinds come in turn
	}
	for i := 0; i < len(p.units); i++ {
		u := p.units[i]
		if u.incomplete() {
			continue
		}
		first, r := i, run{}
		if !u.gang {
			r.kind = u.members[0].kind
			for i+1 < len(p.units) && p.units[i+1].like(u) {
				i++
			}
		}
		r.units = p.units[first : i+1 : i+1]
		runs = append(runs, r)
	}
	return runs
}

// bySize are the units in the order in which they pack best: those that keep
// others of their kind off their machine first, then the largest. Before that come priority, that the pod is there, and having waited
// for so long that a machine should have come.
func (p *planner) bySize() []run {
	type key struct {
		kind     *kind
		gang     *unit
		priority int32
		expected bool
		overdue  bool
		buys     bool
	}
	index := map[key]int{}
	var runs []run
	var keys []key
	for i, u := range p.units {
		if u.incomplete() {
			continue
		}
		first := u.members[0]
		k := key{kind: first.kind, priority: u.leader.Priority, expected: first.pod == nil, buys: u.buys}
		if u.gang {
			k.kind, k.gang = nil, u
		}
		k.overdue = !k.expected && p.snapshot.Now.Sub(u.leader.Created) > joinTimeout
		at, known := index[k]
		if !known {
			at = len(runs)
			index[k] = at
			runs = append(runs, run{units: p.units[i : i+1 : i+1], kind: k.kind})
			keys = append(keys, k)
			continue
		}
		runs[at].units = append(runs[at].units, u)
	}
	order := make([]int, len(runs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := &keys[i], &keys[j]
		return cmp.Or(
			boolCompare(a.expected, b.expected),
			-cmp.Compare(a.priority, b.priority),
			boolCompare(b.overdue, a.overdue),
			cmp.Compare(p.mostOf(runs[i]), p.mostOf(runs[j])),
			-cmp.Compare(sizeOf(runs[i]), sizeOf(runs[j])),
		)
	})
	sorted := make([]run, 0, len(runs))
	for _, i := range order {
		sorted = append(sorted, runs[i])
	}
	return sorted
}

// apartFirst are the runs with those first that keep others of their kind off
// their machine, within the same priority.
func (p *planner) apartFirst(byAge []run) []run {
	return slices.SortedStableFunc(slices.Values(byAge), func(a, b run) int {
		return cmp.Or(
			boolCompare(a.expected(), b.expected()),
			-cmp.Compare(a.units[0].leader.Priority, b.units[0].leader.Priority),
			cmp.Compare(p.mostOf(a), p.mostOf(b)),
		)
	})
}

// expected reports whether the run's pods are yet to be created.
func (r run) expected() bool { return r.units[0].members[0].pod == nil }

// mostOf is how many pods of the run one machine takes, whatever its size. Those
// of which each needs a machine of its own come first: others fill what these
// leave free.
func (p *planner) mostOf(r run) int {
	if r.kind == nil || !r.kind.tied {
		return mostExpected
	}
	p.joinAll()
	return p.mostOnOne(r.kind)
}

func sizeOf(r run) float64 {
	if r.kind != nil {
		return r.kind.size
	}
	size := 0.0
	for _, m := range r.units[0].members {
		size += m.kind.size
	}
	return size
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
