package capacity

import (
	"cmp"
	"maps"
	"slices"
)

// unit is what is placed together: one pod, or the pods of a gang.
type unit struct {
	members []*member
	// leader is the oldest member of the highest priority; the unit's order.
	leader *Pod
	gang   bool
	// missing is how many pods of the gang are not there yet.
	missing int
	// buys is false for pods that never had a gate: they may take a mark back
	// but not buy a machine.
	buys   bool
	placed bool
}

// member is one pod of a unit, or one that will come (pod is nil then).
type member struct {
	pod   *Pod
	class *Class
	bin   *bin
}

// holdNominated lets pods that have a node nominated and are not bound yet
// hold their place there.
func (p *planner) holdNominated() {
	for i := range p.snapshot.Pods {
		pod := &p.snapshot.Pods[i]
		if pod.Node != "" || pod.Gated || pod.OthersGate || pod.Nominated == "" {
			continue
		}
		if b := p.byNode[pod.Nominated]; b != nil && p.fits(b, pod.Class) {
			b.take(pod.Class)
			p.held[pod] = true
		}
	}
}

// isDemand reports whether the pod needs a place: it waits at the gate, or it
// was released and its place is gone, or the scheduler found none for it.
func (p *planner) isDemand(pod *Pod) bool {
	return pod.Node == "" && !pod.OthersGate && !p.held[pod] && (pod.Gated || pod.Released || pod.Unschedulable)
}

// units groups the demand, in the order in which it is to be placed.
func (p *planner) units() []*unit {
	var units []*unit
	gangs := map[string]*unit{}
	present := map[string]int{}
	expected := map[string]*Pod{}
	for i := range p.snapshot.Pods {
		pod := &p.snapshot.Pods[i]
		gang := pod.Key.Namespace + "/" + pod.Gang
		if pod.Gang != "" {
			present[gang]++
		}
		expected[string(pod.UID)] = pod
		if !p.isDemand(pod) {
			continue
		}
		u := gangs[gang]
		if u == nil || pod.Gang == "" || !pod.Gated {
			u = &unit{leader: pod, gang: pod.Gang != "" && pod.Gated, buys: pod.Gated || pod.Released}
			units = append(units, u)
			if u.gang {
				gangs[gang] = u
			}
		}
		u.add(&member{pod: pod, class: pod.Class})
	}
	for gang, u := range gangs {
		u.missing = max(0, u.leader.GangSize-present[gang])
	}
	units = append(units, p.expectedUnits(gangs, expected)...)
	for _, u := range units {
		for len(u.members) > 0 && u.missing > u.comingMembers() {
			u.add(&member{class: u.leader.Class})
		}
		for _, m := range u.members {
			p.pending[m.class]++
		}
	}
	slices.SortStableFunc(units, func(a, b *unit) int { return comparePods(*a.leader, *b.leader) })
	return units
}

// expectedUnits adds the pods that Jobs will still create to their gangs, and
// returns a unit for each of the others.
func (p *planner) expectedUnits(gangs map[string]*unit, pods map[string]*Pod) []*unit {
	var units []*unit
	for _, e := range p.snapshot.Expected {
		like := pods[string(e.Like)]
		if like == nil {
			continue
		}
		for range e.Count {
			m := &member{class: like.Class}
			if u := gangs[like.Key.Namespace+"/"+like.Gang]; u != nil && like.Gang != "" {
				u.add(m)
				continue
			}
			u := &unit{leader: like, buys: true}
			u.add(m)
			units = append(units, u)
		}
	}
	return units
}

func (u *unit) add(m *member) { u.members = append(u.members, m) }

func (u *unit) comingMembers() int {
	n := 0
	for _, m := range u.members {
		if m.pod == nil {
			n++
		}
	}
	return n
}

// place finds a place for every member of the unit, or for none.
func (p *planner) place(u *unit) {
	var before map[*Class]int
	if u.gang {
		before = maps.Clone(p.next)
	}
	opened := make([]int, len(p.pools))
	for i, po := range p.pools {
		opened[i] = len(po.opened)
	}
	bins := len(p.bins)
	for i, m := range u.members {
		m.bin = p.find(m.class, u)
		if m.bin == nil {
			for _, done := range u.members[:i] {
				done.bin.give(done.class)
				done.bin = nil
			}
			if u.gang {
				p.next = before
			}
			p.bins = p.bins[:bins]
			for j, po := range p.pools {
				po.opened = po.opened[:opened[j]]
			}
			break
		}
		m.bin.take(m.class)
	}
	u.placed = u.members[len(u.members)-1].bin != nil
	for _, m := range u.members {
		p.pending[m.class]--
	}
}

// find returns the first place with room for a pod of the class, buying a
// machine if there is none and the unit may; nil if there is no way.
func (p *planner) find(class *Class, u *unit) *bin {
	for i := p.next[class]; i < len(p.bins); i++ {
		b := p.bins[i]
		if !u.buys && b.tier >= tierComing {
			return nil
		}
		if p.fits(b, class) {
			p.next[class] = i
			return b
		}
	}
	if !u.buys {
		return nil
	}
	po := p.cheapest(class)
	if po == nil {
		p.next[class] = len(p.bins)
		return nil
	}
	b := p.machine(po, tierNew)
	po.opened = append(po.opened, b)
	p.bins = append(p.bins, b)
	p.next[class] = len(p.bins) - 1
	return b
}

// fits reports whether a pod of the class may go to the bin and has room there.
func (p *planner) fits(b *bin, class *Class) bool {
	return b.free.Holds(class.Requests) &&
		(class.Pool == "" || b.pool != nil && b.pool.is(class.Pool)) &&
		p.admits(b.shape, class, b.name()) == ""
}

func (b *bin) take(c *Class) { b.free = b.free.Sub(c.Requests); b.planned++ }
func (b *bin) give(c *Class) { b.free = b.free.Add(c.Requests); b.planned-- }

// release lets the unit's pods through if all of them are there and have a
// place on ready nodes, or if one has waited for as long as it wants to.
func (p *planner) release(u *unit) {
	ready := u.placed && u.missing == 0
	for _, m := range u.members {
		ready = ready && (m.pod == nil && !u.gang || m.pod != nil && m.bin.tier == tierReady)
	}
	for _, m := range u.members {
		switch {
		case m.pod == nil || !m.pod.Gated:
		case ready:
			p.decision.Releases = append(p.decision.Releases, Release{Pod: m.pod.Key, UID: m.pod.UID, Node: m.bin.name()})
		case m.pod.MaxWait > 0:
			end := m.pod.Created.Add(m.pod.MaxWait)
			if p.snapshot.Now.Before(end) {
				p.look(end)
				continue
			}
			p.decision.Releases = append(p.decision.Releases, Release{
				Pod: m.pod.Key, UID: m.pod.UID,
				Why: "it has waited for its longest wait of " + m.pod.MaxWait.String(),
			})
		}
	}
}

// cheapest returns the pool that serves the pending pods of the class at the
// lowest price, or nil if none can grow for them.
func (p *planner) cheapest(class *Class) *pool {
	type offer struct {
		pool     *pool
		extra    int // extended resources that the pods would leave idle
		price    float64
		machines int
	}
	var offers []offer
	priced := true
	for _, po := range p.pools {
		if p.obstacle(po, class).code != "" {
			continue
		}
		per := p.machine(po, tierNew).free.count(class.Requests, p.pending[class])
		o := offer{pool: po, machines: (p.pending[class] + per - 1) / max(per, 1)}
		for name := range po.Shape.Allocatable.Scalar {
			if class.Requests.Scalar[name] == 0 {
				o.extra++
			}
		}
		priced = priced && po.Settings.PricePerHour > 0
		offers = append(offers, o)
	}
	if len(offers) == 0 {
		return nil
	}
	for i := range offers {
		o := &offers[i]
		// Prices and vCPUs do not compare: prices count only if every pool that
		// could serve has one.
		unit := float64(o.pool.Shape.Allocatable.MilliCPU)
		if priced {
			o.extra, unit = 0, o.pool.Settings.PricePerHour
		}
		o.price = unit * float64(o.machines)
	}
	return slices.MinFunc(offers, func(a, b offer) int {
		return cmp.Or(cmp.Compare(a.extra, b.extra), cmp.Compare(a.price, b.price), cmp.Compare(a.machines, b.machines))
	}).pool
}
