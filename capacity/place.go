package capacity

import (
	"cmp"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// fewPods is the most units for which small machines are tried where these cost
// the same as large ones: among more units the difference of a machine or two
// is lost.
const fewPods = 500

// way is a way to place the demand.
type way struct {
	runs []run
	bins func(a, b *bin) int
	// smallMachines has more and smaller machines bought at the same price.
	smallMachines bool
	// everyZone has machines bought in each zone before any pod is placed, so
	// that pods which keep to themselves share those that others need there.
	everyZone bool
}

// serve finds a place for every unit that may have one. Who comes first is
// served first, unless another order serves as many for less money.
func (p *planner) serve() {
	best := way{runs: p.byAge(), bins: longestFirst}
	known := p.attempt(best, nil)
	if known.bought == 0 && (known.unplaced == 0 || !p.roomForAll()) {
		return
	}
	dispensable := map[*unit]bool{}
	for _, u := range p.units {
		if !u.placed {
			dispensable[u] = u.reserved == nil
		}
	}
	must := func(u *unit) bool { return !dispensable[u] }
	elsewhere := p.elsewhere()
	p.undo()
	if known.bought == 0 && len(p.units) <= fewPods && p.leastElsewhere() == elsewhere {
		p.attempt(best, nil)
		return
	}
	stands := false // what the best way placed
	for w := range p.otherWays(best.runs) {
		if stands {
			p.undo()
		}
		o := p.attempt(w, must)
		if stands = o.complete && o.compare(known) < 0; !stands {
			p.undo()
			continue
		}
		if best, known = w, o; o.bought == 0 {
			return
		}
	}
	switch {
	case stands && known.unplaced == 0:
		return // to place it again, and keep machines free for others, would change nothing
	case stands:
		p.undo()
	}
	p.attempt(best, nil)
}

// otherWays are ways to place the demand that may need fewer machines than to
// do so in the order of age.
func (p *planner) otherWays(byAge []run) iter.Seq[way] {
	return func(yield func(way) bool) {
		tries := 0
		if len(p.units) <= fewPods && p.roomForAll() {
			tries = min(manyTries, manyDraws/(len(p.units)+p.bought))
		}
		bySize := p.bySize()
		ways := []way{{runs: bySize, bins: largestFirst}}
		if len(p.units) <= fewPods {
			ways = append(ways, way{runs: bySize, bins: largestFirst, smallMachines: true})
		}
		if p.anyTied() {
			ways = append(ways, way{runs: p.apartFirst(byAge), bins: largestFirst, everyZone: true})
		}
		for _, w := range ways {
			if !yield(w) {
				return
			}
		}
		for seed := range tries {
			if !yield(p.atRandom(bySize, uint64(seed))) {
				return
			}
		}
	}
}

// manyTries is how many orders are drawn where the machines that are there or
// coming have room for all in sum: these may be just the machines that were bought
// for the demand, and only a few ways to fill them do. Where many pods and machines
// have to be put in order, fewer are drawn.
const manyTries, manyDraws = 200, 200_000

// atRandom is a way that is like the one by size, but for what is about as large.
func (p *planner) atRandom(bySize []run, seed uint64) way {
	r := rand.New(rand.NewPCG(seed, 0))
	about := func(size, least float64) float64 { return size * (least + r.Float64()) }
	sizes, rooms := make(map[*unit]float64, len(bySize)), make(map[*bin]float64, p.bought)
	for _, run := range bySize {
		sizes[run.units[0]] = about(sizeOf(run), 0.75)
	}
	for _, b := range p.bins[:p.bought] {
		rooms[b] = about(b.room, 0.1)
	}
	return way{
		runs: slices.SortedStableFunc(slices.Values(bySize), func(a, b run) int {
			return cmp.Or(p.rank(a, b), -cmp.Compare(sizes[a.units[0]], sizes[b.units[0]]))
		}),
		bins: func(a, b *bin) int {
			return cmp.Or(boolCompare(a.retiring(), b.retiring()), -cmp.Compare(rooms[a], rooms[b]), longestFirst(a, b))
		},
	}
}

// elsewhere is how many pods have no place on a machine that is there or coming.
func (p *planner) elsewhere() int {
	n := 0
	for m := range p.demanded() {
		if m.bin == nil || m.bin.tier == tierNew {
			n++
		}
	}
	return n
}

// leastElsewhere is how many pods have no such place in whatever order they come:
// of each kind those that find no room although no other kind is there. No pod is
// placed yet. If nothing could be bought for just as many, no order serves more.
func (p *planner) leastElsewhere() int {
	pods := map[*kind]int{}
	for m := range p.demanded() {
		pods[m.kind]++
	}
	least := 0
	for k, left := range pods {
		for _, b := range p.bins[:p.bought] {
			// What a rule about other pods says depends on which are placed.
			if k.tied || p.check(b, k.Class).Why == "" {
				left -= b.place.Free.Count(k.Requests, left)
			}
			if left == 0 {
				break
			}
		}
		least += left
	}
	return least
}

// demanded are the pods that are placed if there is room.
func (p *planner) demanded() iter.Seq[*member] {
	return func(yield func(*member) bool) {
		for _, u := range p.units {
			for _, m := range u.members {
				if !u.incomplete() && !yield(m) {
					return
				}
			}
		}
	}
}

// outcome is what came of placing everything in some order.
type outcome struct {
	unplaced int // units without a place
	bought   int
	// cost of the machines to buy: their price per hour if all pools have one,
	// else their CPUs.
	cost float64
	// complete is false if the attempt was given up.
	complete bool
}

// compare orders outcomes, the better one first: fewer units without a place,
// less money, fewer machines.
func (o outcome) compare(other outcome) int {
	const cent = 1e4 // sums of the same prices in another order differ a little
	return cmp.Or(
		cmp.Compare(o.unplaced, other.unplaced),
		cmp.Compare(math.Round(o.cost*cent), math.Round(other.cost*cent)),
		cmp.Compare(o.bought, other.bought),
	)
}

// attempt places the demand in some way. It is given up when a unit that must
// have a place finds none. Without such units, whoever finds no place for want
// of room has a node kept free for it.
func (p *planner) attempt(w way, must func(*unit) bool) outcome {
	var o outcome
	p.order, p.smallMachines = w.runs, w.smallMachines
	p.sortBins(w.bins)
	p.count(w.runs)
	p.soonestFree, p.looks = nil, 0
	if w.everyZone {
		p.openZones(w.runs)
	}
	for _, r := range w.runs {
		p.placeRun(r)
		for _, u := range r.units {
			if u.placed {
				continue
			}
			if must != nil && must(u) {
				return o
			}
			o.unplaced++
		}
		if last := r.units[len(r.units)-1]; must == nil && !last.placed {
			p.reserve(r)
		}
	}
	p.merge()
	p.downsize()
	o.complete = true
	for _, b := range p.bins[p.bought:] {
		if !b.dropped {
			o.bought++
			o.cost += p.everyPool().price(b.pool)
		}
	}
	return o
}

// count notes how many pods of each kind may yet need a machine.
func (p *planner) count(runs []run) {
	for _, k := range p.kinds {
		k.pending, k.progress.all = 0, scan{}
		clear(k.progress.zones)
	}
	for _, r := range runs {
		for _, u := range r.units {
			for _, m := range u.members {
				if u.buys {
					m.kind.pending++
				}
			}
		}
	}
	for _, f := range p.families {
		f.pending, f.pods, f.market = fit.Resources{}, 0, market{}
	}
	for _, k := range p.kinds {
		k.market = market{}
		if k.family != nil {
			k.family.expect(k, k.pending)
		}
	}
}

// served takes pods of the kind out of what may yet need a machine.
func (k *kind) served(n int) {
	k.pending -= n
	if k.family != nil {
		k.family.expect(k, -n)
	}
}

// placeRun finds places for the units of the run, one after the other.
func (p *planner) placeRun(r run) {
	if r.kind == nil {
		u := r.units[0]
		u.placed = p.placeGang(u)
		for _, m := range u.members {
			m.kind.served(1)
		}
		return
	}
	k, units := r.kind, r.units
	buys := units[0].buys
	for len(units) > 0 {
		b := p.find(k, buys)
		if b == nil {
			break // nor is there one for the next, which is like it
		}
		n := 1
		if !k.tied && len(units) > 1 {
			n = max(1, b.place.Free.Count(k.Requests, len(units)))
		}
		b.put(&p.world, k.Class, n)
		for _, u := range units[:n] {
			u.members[0].bin, u.placed = b, true
		}
		if buys {
			k.served(n)
		}
		units = units[n:]
	}
	if buys {
		k.served(len(units))
	}
}

// placeGang finds a place for every member, or for none.
func (p *planner) placeGang(u *unit) bool {
	bins := len(p.bins)
	from := make([]progress, 0, len(u.members))
	for i, m := range u.members {
		from = append(from, m.kind.progress.clone())
		m.bin = p.find(m.kind, u.buys)
		if m.bin == nil {
			p.takeBack(u.members[:i+1], from, bins)
			return false
		}
		m.bin.put(&p.world, m.kind.Class, 1)
	}
	return true
}

// takeBack undoes the placing of the members, the last of which found no
// place, the progress of their kinds since then, and the purchases made for them,
// which begin at bin number bought.
func (p *planner) takeBack(members []*member, from []progress, bought int) {
	for i := len(members) - 1; i >= 0; i-- {
		m := members[i]
		if m.bin != nil {
			m.bin.lift(&p.world, m.kind.Class, 1)
			p.raise(m.bin)
			m.bin = nil
		}
		m.kind.progress = from[i]
	}
	p.unbuy(bought)
}

// undo takes back all that was placed and bought.
func (p *planner) undo() {
	for _, u := range p.units {
		for _, m := range u.members {
			if m.bin != nil {
				m.bin.lift(&p.world, m.kind.Class, 1)
				m.bin = nil
			}
		}
		for _, b := range u.reserved {
			b.reserved, b.pool.reserving = nil, false
		}
		u.placed, u.reserved = false, nil
	}
	p.unbuy(p.bought)
}

// find returns the first place with room for one more pod of the kind, buying
// a machine if there is none and it may; nil if there is no way.
func (p *planner) find(k *kind, buys bool) *bin {
	b := p.first(k, buys)
	switch {
	case b == nil && buys:
		return p.open(k)
	case b != nil && k.Prefers():
		return p.preferred(b.at, k)
	}
	return b
}

// What soft preferences may cost: once so many places were looked at for them,
// each search is for the best of a few with room only.
const manyLooks, fewLooks = 100_000, 50

// preferred returns the bin that pods of the kind like best of those that cost
// the same as bin number i, which takes one.
func (p *planner) preferred(i int, k *kind) *bin {
	best := p.bins[i]
	liking := p.world.Preference(best.place, k.Class)
	for n, b := range p.bins[i+1:] {
		if b.tier != best.tier || n >= fewLooks && p.looks >= manyLooks {
			break
		}
		p.looks++
		if l := p.world.Preference(b.place, k.Class); l > liking && p.check(b, k.Class).Why == "" {
			best, liking = b, l
		}
	}
	return best
}

// check says why a pod of the class may not go to the bin.
func (p *planner) check(b *bin, class *fit.Class) fit.Verdict {
	switch {
	case b.reserved != nil:
		return fit.Verdict{Why: "kept free for another pod", Lasting: true}
	case class.Pool != "" && (b.pool == nil || !b.pool.is(class.Pool)):
		return fit.Verdict{Why: "not the pool that the pod asks for", Lasting: true}
	}
	return p.world.Check(b.place, class)
}

// roomForAll reports whether the machines that are there or coming have as much
// room in all as the demand without a place takes.
func (p *planner) roomForAll() bool {
	var free, want fit.Resources
	for _, b := range p.bins[:p.bought] {
		free = free.Add(b.place.Free.Max(fit.Resources{}))
	}
	for _, u := range p.units {
		if u.placed || u.incomplete() {
			continue
		}
		for _, m := range u.members {
			if m.kind.size <= 1 { // else it fits nowhere anyway
				want = want.Add(m.kind.Requests)
			}
		}
	}
	return free.Holds(want)
}
