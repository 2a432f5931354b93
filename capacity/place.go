package capacity

import (
	"slices"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// place finds a place for every member of the unit, or for none.
func (p *planner) place(u *unit) {
	if u.incomplete() {
		return
	}
	u.placed = p.placeAll(u)
	for _, m := range u.members {
		p.pending[m.class]--
	}
}

func (p *planner) placeAll(u *unit) bool {
	bins := len(p.bins)
	for i, m := range u.members {
		m.from = p.next[m.class]
		m.bin = p.find(m.class, u.buys)
		if m.bin == nil {
			if i > 0 {
				p.takeBack(u.members[:i+1], bins)
			}
			return false
		}
		m.bin.take(m.class)
	}
	return true
}

// takeBack undoes the placing of the members, the last of which found no
// place, and the purchases made for them, which begin at bin number bought.
func (p *planner) takeBack(members []*member, bought int) {
	for _, m := range slices.Backward(members) {
		if m.bin != nil {
			m.bin.give(m.class)
			m.bin = nil
		}
		p.next[m.class] = m.from
	}
	for _, b := range p.bins[bought:] {
		b.pool.opened--
	}
	p.bins = p.bins[:bought]
}

// find returns the first place with room for a pod of the class, buying a
// machine if there is none and it may; nil if there is no way.
func (p *planner) find(class *fit.Class, buys bool) *bin {
	for i := p.next[class]; i < len(p.bins); i++ {
		b := p.bins[i]
		p.next[class] = i
		if !buys && b.tier >= tierComing {
			return nil
		}
		if p.fits(b, b.free, class) {
			return b
		}
	}
	p.next[class] = len(p.bins)
	if !buys {
		return nil
	}
	po := p.cheapest(class)
	if po == nil {
		return nil
	}
	b := p.machine(po, tierNew)
	po.opened++
	p.bins = append(p.bins, b)
	return b
}

// fits reports whether a pod of the class may go to the bin if so much is free
// there.
func (p *planner) fits(b *bin, free fit.Resources, class *fit.Class) bool {
	return free.Holds(class.Requests) &&
		(class.Pool == "" || b.pool != nil && b.pool.is(class.Pool)) &&
		p.admits(b.shape, class, b.name()) == ""
}

// release lets the unit's pods through the gate if the unit may run, and a pod
// that has waited for as long as it wants to whether it may or not.
func (p *planner) release(u *unit) {
	ready := u.ready()
	for _, m := range u.members {
		if m.pod == nil || !m.pod.Gated {
			continue
		}
		r := Release{Pod: m.pod.Key, UID: m.pod.UID}
		switch {
		case ready:
			r.Node = m.bin.name()
		case m.pod.MaxWait == 0 || p.before(m.pod.Created.Add(m.pod.MaxWait)):
			continue
		default:
			r.Why = "it has waited for its longest wait of " + m.pod.MaxWait.String()
		}
		p.decision.Releases = append(p.decision.Releases, r)
	}
}
