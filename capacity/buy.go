package capacity

import (
	"cmp"
	"slices"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// fewOnOne is the most pods of a tied kind that are tried out on one machine.
const fewOnOne = 8

// mostOnOne is how many pods of the kind one empty machine takes at most for
// other reasons than room, such as host ports or a rule to spread.
func (p *planner) mostOnOne(k *kind) int {
	if !k.tied {
		return mostExpected
	}
	if k.most > 0 {
		return k.most
	}
	k.most = mostExpected
	i := slices.IndexFunc(k.family.pools, func(po *pool) bool { return po.offers.Holds(k.Requests) })
	if i < 0 {
		return k.most
	}
	b := p.machine(k.family.pools[i], k.family.pools[i].nextZone(), tierNew)
	n := 0
	for n < fewOnOne && p.world.Check(b.place, k.Class).Why == "" {
		b.put(&p.world, k.Class, 1)
		n++
	}
	if n > 0 && n < fewOnOne && b.place.Free.Holds(k.Requests) {
		k.most = n
	}
	b.lift(&p.world, k.Class, n)
	p.world.Remove(b.place)
	return k.most
}

// open buys a machine for a pod of the kind, the one that serves the pending
// pods of its family at the lowest price; nil if none can be had.
func (p *planner) open(k *kind) *bin {
	elsewhere := false
	for _, o := range p.marketFor(k) {
		if !o.pool.offers.Holds(k.Requests) || p.closed(o.pool) != "" {
			continue
		}
		b, verdict := p.buy(o.pool, k)
		if b != nil {
			return b
		}
		elsewhere = elsewhere || !verdict.Lasting
	}
	if elsewhere {
		return p.enlarge(k)
	}
	return nil
}

// buy starts or buys a machine of the pool for a pod of the kind. In a pool with
// several zones one is started in the right zone; to buy one there may take more
// than one machine.
func (p *planner) buy(po *pool, k *kind) (*bin, fit.Verdict) {
	before := len(p.bins)
	var verdict fit.Verdict
	try := func(z *zone, start bool) *bin {
		b := p.machine(po, z, tierNew)
		b.starts = start
		p.spend(b, 1)
		p.enqueue(b)
		if verdict = p.world.Check(b.place, k.Class); verdict.Why == "" {
			return b
		}
		return nil
	}
	for i := range po.zones {
		if z := &po.zones[i]; z.starts() {
			if b := try(z, true); b != nil {
				return b, verdict
			}
			p.unbuy(before)
		}
	}
	for range po.zones {
		if p.closedFor(po, false) != "" {
			break
		}
		if b := try(po.balancedZone(), false); b != nil {
			return b, verdict
		}
	}
	p.unbuy(before)
	return nil, verdict
}

// openZones buys as many machines in each zone as the pending pods would need
// there if they were spread evenly, and one more.
func (p *planner) openZones(runs []run) {
	i := slices.IndexFunc(runs, func(r run) bool { return r.kind != nil && r.kind.tied && p.mostOf(r) == mostExpected })
	if i < 0 {
		return
	}
	var cheapest []*pool // one for each zone
	seen := map[string]bool{}
	for _, o := range p.marketFor(runs[i].kind) {
		if name := o.pool.nextZone().name; !seen[name] && p.closed(o.pool) == "" {
			seen[name] = true
			cheapest = append(cheapest, o.pool)
		}
	}
	for _, po := range cheapest {
		for range 1 + int(runs[i].kind.family.pending.Ratio(po.offers))/len(cheapest) {
			if p.closed(po) != "" {
				break
			}
			b := p.machine(po, po.nextZone(), tierNew)
			b.ahead = true
			p.spend(b, 1)
			p.enqueue(b)
		}
	}
}

// unbuy takes back the purchases from bin number first on.
func (p *planner) unbuy(first int) {
	for _, b := range slices.Backward(p.bins[first:]) {
		if !b.dropped {
			p.spend(b, -1)
		}
		p.world.Remove(b.place)
	}
	p.dequeue(first)
}

// enlarge exchanges a machine to buy for the largest that takes its pods and
// one more of the kind, which has to be with them; nil if there is none.
func (p *planner) enlarge(k *kind) *bin {
	largest := slices.SortedStableFunc(slices.Values(k.family.pools), func(a, b *pool) int {
		return -cmp.Compare(p.room(a.offers), p.room(b.offers))
	})
	for _, b := range p.bins[p.bought:] {
		if b.place.Free.Holds(k.Requests) {
			continue // it is not for want of room
		}
		before := b.pool
		for _, po := range largest {
			if p.room(po.offers) <= p.room(before.offers) {
				break
			}
			if p.zonal && po.nextZone().name != b.zoneName || p.closed(po) != "" || !p.exchange(b, po) {
				continue // in another zone it would be in another queue
			}
			p.raise(b)
			if p.world.Check(b.place, k.Class).Why == "" {
				return b
			}
			p.exchange(b, before)
			break
		}
	}
	return nil
}

// merge drops machines to buy that were bought ahead for nothing, or for a single
// pod that another of them takes.
func (p *planner) merge() {
	alone := map[*bin]*member{}
	for _, u := range p.units {
		for _, m := range u.members {
			if m.bin != nil && m.bin.tier == tierNew && m.bin.planned == 1 {
				alone[m.bin] = m
			}
		}
	}
	stuck := map[*kind]bool{}
	for _, b := range slices.Backward(p.bins[p.bought:]) {
		if !b.isLast() {
			continue
		}
		if b.ahead && b.planned == 0 {
			b.dropped = true
			p.spend(b, -1)
			continue
		}
		m := alone[b]
		if m == nil || stuck[m.kind] {
			continue
		}
		b.lift(&p.world, m.kind.Class, 1)
		i := slices.IndexFunc(p.bins[p.bought:], func(other *bin) bool {
			return other != b && !other.dropped && p.check(other, m.kind.Class).Why == ""
		})
		if i < 0 {
			b.put(&p.world, m.kind.Class, 1)
			stuck[m.kind] = true
			continue
		}
		m.bin = p.bins[p.bought+i]
		m.bin.put(&p.world, m.kind.Class, 1)
		delete(alone, m.bin)
		b.dropped = true
		p.spend(b, -1)
	}
}

// downsize exchanges every machine to buy for the cheapest that takes its pods.
func (p *planner) downsize() {
	f := p.everyPool()
	cheapest := slices.SortedStableFunc(slices.Values(f.pools), func(a, b *pool) int {
		return cmp.Or(cmp.Compare(f.price(a), f.price(b)), boolCompare(b.Spot, a.Spot))
	})
	for _, b := range p.bins[p.bought:] {
		for _, po := range cheapest {
			if b.dropped || f.price(po) >= f.price(b.pool) {
				break
			}
			if (f.priced || len(po.offers.Scalar) <= len(b.pool.offers.Scalar)) && p.closed(po) == "" && p.exchange(b, po) {
				break
			}
		}
	}
}

// exchange makes the machine to buy one of another pool, if that takes all the
// pods that are planned for it.
func (p *planner) exchange(b *bin, po *pool) bool {
	content, z := b.pool.offers.Sub(b.place.Free), po.nextZone()
	if !po.offers.Holds(content) || !b.isLast() {
		return false
	}
	for _, c := range b.contents {
		if c.Class.Pool != "" && !po.is(c.Class.Pool) || z.shape.Admits(c.Class, "") != "" {
			return false
		}
	}
	if !p.world.Exchange(b.place, z.shape, po.offers.Sub(content)) {
		return false
	}
	p.spend(b, -1)
	b.pool, b.zone, b.zoneName, b.starts = po, z, z.name, z.starts()
	p.spend(b, 1)
	return true
}

// spend counts n machines like that one as started or bought.
func (p *planner) spend(b *bin, n int) {
	b.pool.opened += n
	if b.starts {
		b.zone.starting += n
	} else {
		b.zone.buying += n
	}
	p.pay(b.pool, n)
}
