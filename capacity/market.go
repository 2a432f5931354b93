package capacity

import (
	"cmp"
	"slices"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// family is the pools whose machines would take some kinds of pods, whatever
// their size: kinds with the same pools can share a machine of any of them.
type family struct {
	pools []*pool
	// priced is true if all of them have a price: prices and CPUs do not compare.
	priced bool
	// pending is what the family's pods without a place request in all, pods
	// their number, and kinds that of their kinds.
	pending     fit.Resources
	pods, kinds int
	market      market
}

// expect adds n pods of the kind to the pending ones, unless they are too large
// for any machine.
func (f *family) expect(k *kind, n int) {
	if !k.fits {
		return
	}
	f.pending.Take(k.Requests, -n)
	f.pods += n
}

// price is what a machine costs, in the family's unit.
func (f *family) price(po *pool) float64 {
	if f.priced {
		return po.Settings.PricePerHour
	}
	return float64(po.offers.MilliCPU) / 1000
}

// everyPool is the family of all pools that may be bought from.
func (p *planner) everyPool() *family {
	if p.forSale == nil {
		p.forSale = p.familyOf(func(po *pool) bool { return po.Refused == "" && po.Shape != nil })
	}
	return p.forSale
}

// familyOf returns the family of the pools that are in it.
func (p *planner) familyOf(in func(*pool) bool) *family {
	key := make([]byte, len(p.pools))
	for i, po := range p.pools {
		if in(po) {
			key[i] = 1
		}
	}
	f := p.families[string(key)]
	if f == nil {
		f = &family{priced: true}
		for i, po := range p.pools {
			if key[i] == 1 {
				f.pools = append(f.pools, po)
				f.priced = f.priced && po.Settings.PricePerHour > 0
			}
		}
		p.families[string(key)] = f
	}
	return f
}

// joinAll finds every kind's family, so that a market knows all of its demand.
func (p *planner) joinAll() {
	if p.allJoined {
		return
	}
	p.allJoined = true
	for _, k := range p.kinds {
		p.join(k)
	}
}

// join finds the kind's family.
func (p *planner) join(k *kind) {
	// What is asked of a pool is the same for many kinds.
	if k.family = p.byWish[k.Wish()]; k.family == nil {
		k.family = p.familyOf(func(po *pool) bool { return po.mismatch(k.Class) == "" })
		p.byWish[k.Wish()] = k.family
	}
	k.fits = slices.ContainsFunc(k.family.pools, func(po *pool) bool { return po.offers.Holds(k.Requests) })
	k.family.expect(k, k.pending)
	k.family.kinds++
}

// market is the pools of a family, the cheapest for the pending pods first. It
// holds until no more than half of these are left.
type market struct {
	offers []offer
	until  int
}

// offer is a pool in a market.
type offer struct {
	pool *pool
	// devices is how many extended resources the machine has. It counts where
	// there are no prices: a GPU is dearer than the CPUs beside it.
	devices int
	// price of all the machines that the pending pods would need; of the last
	// one only the part that they need.
	price, machines float64
}

// manyKinds is from how many kinds of pods on a machine is chosen for all of
// them as if they were one mass: what one kind leaves free another one fills.
const manyKinds = 32

// marketFor returns the offers of the kind's family, the cheapest first.
func (p *planner) marketFor(k *kind) []offer {
	p.joinAll()
	f := k.family
	m, pods := &k.market, k.pending
	alone := func(po *pool) float64 {
		return float64(k.pending) / float64(max(1, po.offers.Count(k.Requests, p.mostOnOne(k))))
	}
	if f.kinds >= manyKinds {
		m, pods = &f.market, f.pods
		alone = func(*pool) float64 { return 0 }
	}
	if m.offers != nil && pods > m.until {
		return m.offers
	}
	offers := make([]offer, 0, len(f.pools))
	for _, po := range f.pools {
		o := offer{pool: po, machines: max(1, alone(po), f.pending.Ratio(po.offers))}
		o.price = f.price(po) * o.machines
		if !f.priced {
			o.devices = len(po.offers.Scalar)
		}
		offers = append(offers, o)
	}
	few := 1
	if p.smallMachines {
		few = -1
	}
	slices.SortFunc(offers, func(a, b offer) int {
		return cmp.Or(
			cmp.Compare(a.devices, b.devices),
			cmp.Compare(a.price, b.price),
			boolCompare(b.pool.Spot, a.pool.Spot),
			cmp.Compare(a.machines, b.machines)*few,
			cmp.Compare(a.pool.number, b.pool.number),
		)
	})
	m.offers, m.until = offers, pods/2
	return offers
}
