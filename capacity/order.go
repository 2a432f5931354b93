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
	runs := p.age
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
	p.age = runs
	return runs
}

// bySize are the units in the order in which they pack best: by rank, then the
// largest first.
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
	for i, u := range p.units {
		if u.incomplete() {
			continue
		}
		r := run{units: p.units[i : i+1 : i+1]}
		k := key{priority: u.leader.Priority, expected: r.expected(), overdue: p.overdue(r), buys: u.buys}
		if u.gang {
			k.gang = u
		} else {
			r.kind = u.members[0].kind
			k.kind = r.kind
		}
		if at, known := index[k]; known {
			runs[at].units = append(runs[at].units, u)
			continue
		}
		index[k] = len(runs)
		runs = append(runs, r)
	}
	slices.SortStableFunc(runs, func(a, b run) int { return cmp.Or(p.rank(a, b), -cmp.Compare(sizeOf(a), sizeOf(b))) })
	return runs
}

// apartFirst are the runs by rank.
func (p *planner) apartFirst(byAge []run) []run {
	return slices.SortedStableFunc(slices.Values(byAge), p.rank)
}

// rank orders runs by priority, the pods that are there before those yet to come.
// Then come those that have waited for so long that a machine should have come,
// and those that keep others of their kind off their machine.
func (p *planner) rank(a, b run) int {
	return cmp.Or(
		boolCompare(a.expected(), b.expected()),
		-cmp.Compare(a.units[0].leader.Priority, b.units[0].leader.Priority),
		boolCompare(p.overdue(b), p.overdue(a)),
		cmp.Compare(p.mostOf(a), p.mostOf(b)),
	)
}

// overdue reports whether the run's first pod has waited for as long as a machine
// may take to come.
func (p *planner) overdue(r run) bool {
	return !r.expected() && !p.before(r.units[0].leader.Created.Add(JoinTimeout))
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
