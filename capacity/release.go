package capacity

import (
	"slices"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// release lets the pods of units that may run now through the gate, and a pod
// that has waited for as long as it wants to whether it may or not.
func (p *planner) release() {
	now := p.present()
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

// present is the cluster as the scheduler has it, without the machines and the
// pods that are only planned. Where rules look at other pods the scheduler may
// refuse now what it will take once these are there, and a node that is not
// adopted yet lacks the label that it is planned with.
type present struct {
	world  *fit.World
	places map[string]*fit.Place
}

// present returns nil if no rule looks at other pods and all nodes are as they
// are planned: then there is room now for whatever has a place on a ready node.
func (p *planner) present() *present {
	if !p.anyTied() && !slices.ContainsFunc(p.snapshot.Nodes, p.unadopted) {
		return nil
	}
	now := &present{world: fit.NewWorld(), places: map[string]*fit.Place{}}
	for _, n := range p.snapshot.Nodes {
		now.places[n.Name] = now.world.Add(&n.Shape, n.Name, p.freeOn(n, &n.Shape), n.load().Counts)
	}
	var classes []*fit.Class
	for _, k := range p.kinds {
		if k.tied {
			classes = append(classes, k.Class)
		}
	}
	// The scheduler binds what was released in an order of its own.
	now.world.Freeze(classes)
	for pod, b := range p.held {
		now.world.Put(now.places[b.name()], pod.Class, 1)
	}
	return now
}

// admit reports whether the scheduler would take all pods of the unit in
// whatever order it binds them, and counts them as there if it would.
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
