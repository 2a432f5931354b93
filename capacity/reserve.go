package capacity

import (
	"cmp"
	"slices"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// reserve keeps machines free for the first unit of the run that found no
// place, if the work that ends by itself makes room for it on them in time:
// otherwise smaller pods that come later would take what becomes free, and a
// large one would wait for ever. One unit at a time has this in each pool,
// so that little stands idle for it.
func (p *planner) reserve(r run) {
	i := slices.IndexFunc(r.units, func(u *unit) bool { return !u.placed })
	u := r.units[i]
	if !u.buys || r.kind != nil && r.kind.tooLarge {
		return
	}
	if p.soonestFree == nil {
		p.soonestFree, p.unwelcome, p.searched = p.byEnd(), map[*fit.Wish]bool{}, 0
	}
	p.soonestFree = slices.DeleteFunc(p.soonestFree, func(b *bin) bool { return b.pool.reserving })
	var chosen []*bin
	room := map[*bin]int{}
	for _, m := range u.members {
		b := p.soonest(u, m.kind, room)
		if b == nil {
			if r.kind != nil {
				r.kind.tooLarge = true
			}
			return
		}
		if room[b]++; room[b] == 1 {
			chosen = append(chosen, b)
		}
	}
	if u.gang && !slices.ContainsFunc(chosen, func(b *bin) bool { return b.node.load().Batch.Pods > 0 }) {
		return // it is not for want of room, and no end of work there changes anything
	}
	for _, b := range chosen {
		b.reserved = u
		b.pool.reserving = true
	}
	u.reserved = chosen
}

// manySearched is how many machines are looked at in vain for pods that fit
// nowhere before a plan has no more of them kept free for others, and takes the
// rest as wanted: thousands of pods that each ask for a node of their own would
// take seconds otherwise.
const manySearched = 1_000_000

// soonest returns the machine that will be free first of those that could hold
// one more pod of the kind beside those of the unit that have their room, nil if
// there is none.
func (p *planner) soonest(u *unit, k *kind, room map[*bin]int) *bin {
	if p.unwelcome[k.Wish()] || !p.mostLater.Holds(k.Requests) || p.searched > manySearched {
		return nil
	}
	welcome := false
	for i, b := range p.soonestFree {
		if (k.Pool == "" || b.pool.is(k.Pool)) && b.place.Admits(k.Class) == "" {
			welcome = true
			if b.couldHold(k, room[b]+1) && p.hopes(u, b, k.Class) {
				p.searched += i
				return b
			}
		}
	}
	p.searched += len(p.soonestFree)
	p.unwelcome[k.Wish()] = !welcome
	return nil
}

// byEnd are the machines of pools that take pods now, the one that will be free
// first at the front.
func (p *planner) byEnd() []*bin {
	bins := []*bin{}
	for _, b := range p.bins[:p.bought] {
		if b.tier == tierReady && b.pool != nil {
			bins = append(bins, b)
		}
	}
	slices.SortFunc(bins, func(a, b *bin) int {
		return cmp.Or(
			boolCompare(a.stay.ends.IsZero() && a.stay.pods > 0, b.stay.ends.IsZero() && b.stay.pods > 0),
			a.stay.ends.Compare(b.stay.ends),
			cmp.Compare(a.stay.pods, b.stay.pods),
			cmp.Compare(a.number, b.number),
		)
	})
	return bins
}

// couldHold reports whether the bin has room for n pods of the kind once the work
// that ends by itself has ended.
func (b *bin) couldHold(k *kind, n int) bool {
	return b.place.Free.Add(b.node.load().Batch).Count(k.Requests, n) >= n
}

// hopes reports whether it is worth to keep the bin free for the unit's pod of the
// class. A gang may need many machines, some of them free already, and may bring
// the pods that its own have to be near.
func (p *planner) hopes(u *unit, b *bin, class *fit.Class) bool {
	if !u.gang {
		return !p.inVain(b, class)
	}
	brings := func(m *member) bool { return class.Seeks(m.kind.Class) }
	return slices.ContainsFunc(u.members, brings) || !p.world.Misses(b.place, class)
}

// inVain reports whether no end of work on the bin brings a pod of the class any
// nearer to it: there is none that could end, or pods are missing that the pod
// has to be near.
func (p *planner) inVain(b *bin, class *fit.Class) bool {
	if b.stay.pods == 0 {
		return p.check(b, class).Why != ""
	}
	return p.world.Misses(b.place, class)
}
