package capacity

import (
	"slices"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// release lets the pods of units that may run now through the gate, and a pod
// that has waited for as long as it wants to whether it may or not.
func (p *planner) release() {
	admitted := p.admitted()
	for _, u := range p.units {
		for _, m := range u.members {
			if m.pod == nil || !m.pod.Gated {
				continue
			}
			r := Release{Pod: m.pod.Key, UID: m.pod.UID}
			switch {
			case admitted[u]:
				r.Node = m.bin.name()
			case m.pod.MaxWait == 0 || p.before(m.pod.Created.Add(m.pod.MaxWait)):
				continue
			default:
				r.Why = "it has waited for its longest wait of " + m.pod.MaxWait.String()
			}
			m.released = true
			p.decision.Releases = append(p.decision.Releases, r)
		}
	}
}

// admitted are the units that go through the gate now.
func (p *planner) admitted() map[*unit]bool {
	now := p.present(true)
	admitted := map[*unit]bool{}
	for _, r := range p.order {
		for _, u := range r.units {
			if u.ready() && now.admit(u) {
				admitted[u] = true
			}
		}
	}
	// Whoever was admitted first may be kept out by one that came later.
	for _, r := range p.order {
		for _, u := range r.units {
			if admitted[u] && !now.confirm(u) {
				delete(admitted, u)
			}
		}
	}
	if now != nil {
		p.admitAlike(admitted)
	}
	return admitted
}

// admitAlike admits more units than may be bound in whatever order, if all pods
// that are being scheduled are alike: whichever of them takes the place of
// another one leaves it its own. Without that a gang that has to spread would
// never go, and a large Job that has to only a few pods at a time.
func (p *planner) admitAlike(admitted map[*unit]bool) {
	alike, only := p.beingScheduled(admitted)
	if !only {
		return
	}
	now := p.present(false)
	for _, r := range p.order {
		for _, u := range r.units {
			if !u.ready() || !u.tied() || !u.allOf(alike) && alike != nil || !u.allOf(u.members[0].kind.Class) {
				continue
			}
			if now.admit(u) {
				admitted[u], alike = true, u.members[0].kind.Class
			}
		}
	}
}

// beingScheduled returns the class of all pods that are released or will be,
// nil if there are none; only is false if they are of several.
func (p *planner) beingScheduled(admitted map[*unit]bool) (class *fit.Class, only bool) {
	classes := map[*fit.Class]bool{}
	for pod := range p.held {
		classes[pod.Class] = true
	}
	for u := range admitted {
		for _, m := range u.members {
			classes[m.kind.Class] = true
		}
	}
	for c := range classes {
		class = c
	}
	return class, len(classes) <= 1
}

// allOf reports whether all members are of the class.
func (u *unit) allOf(class *fit.Class) bool {
	return !slices.ContainsFunc(u.members, func(m *member) bool { return m.kind.Class != class })
}

// present is the cluster as the scheduler has it, without the machines and the
// pods that are only planned. Where rules look at other pods the scheduler may
// refuse now what it will take once these are there, and a node that is not
// adopted yet lacks the label that it is planned with, as one does on which drivers
// have yet to register.
type present struct {
	world  *fit.World
	places map[string]*fit.Place
}

// present returns nil if no rule looks at other pods and all nodes are as they
// are planned: then there is room now for whatever has a place on a ready node.
// With anyOrder its verdicts hold in whatever order the scheduler binds pods,
// else in the order in which they are admitted.
func (p *planner) present(anyOrder bool) *present {
	if !p.anyTied() && !p.promising && !slices.ContainsFunc(p.noted, func(b *bin) bool { return p.unadopted(b.node) }) {
		return nil
	}
	now := &present{world: fit.NewWorld(), places: map[string]*fit.Place{}}
	for _, n := range p.snapshot.Nodes {
		now.places[n.Name] = now.world.Add(fit.PlaceOf(&n.Shape, n.Name, p.freeOn(n, &n.Shape), n.load().Counts))
	}
	if anyOrder {
		var classes []*fit.Class
		for _, k := range p.kinds {
			if k.tied {
				classes = append(classes, k.Class)
			}
		}
		// The scheduler binds what was released in an order of its own.
		now.world.Freeze(classes)
	}
	for pod, b := range p.held {
		now.world.Put(now.places[b.name()], pod.Class, 1)
	}
	return now
}

// admit reports whether the scheduler would take all pods of the unit, and
// counts them as there if it would.
func (now *present) admit(u *unit) bool {
	if now == nil {
		return true
	}
	for i, m := range u.members {
		place := now.places[m.bin.name()]
		if now.world.Check(place, m.kind.Class).Why != "" {
			for _, m := range u.members[:i] {
				now.world.Lift(now.places[m.bin.name()], m.kind.Class, 1)
			}
			return false
		}
		now.world.Put(place, m.kind.Class, 1)
	}
	return true
}

// confirm admits the unit once more, with all others that were admitted.
func (now *present) confirm(u *unit) bool {
	if now == nil || !u.tied() {
		return true
	}
	for _, m := range u.members {
		now.world.Lift(now.places[m.bin.name()], m.kind.Class, 1)
	}
	return now.admit(u)
}
