package capacity

import (
	"github.com/tidegate-k3s/tidegate/capacity/fit"
	"github.com/tidegate-k3s/tidegate/internal/slab"
)

// scratch is the memory of what is large in a plan. The plan after it uses the same
// again: otherwise the garbage collector would have to go through the whole cluster
// every few plans. So nothing in a Decision may point into it.
type scratch struct {
	world fit.World
	// nodes are the bins of all nodes, in the snapshot's order, and noted those
	// about which something is noted.
	nodes []bin
	noted []*bin
	// queue is of all bins; those from number bought on are machines to buy. zones
	// are the queues of the zones, while there are kinds that these matter to.
	queue
	bought int
	zones  []zoneQueue
	arena  arena
	units  []*unit
	// age are the units in runs by age.
	age []run
}

// reset empties the scratch for the next plan.
func (s *scratch) reset() {
	s.world.Reset()
	s.arena.reset()
	s.nodes, s.noted, s.bins, s.blocks = emptied(s.nodes), emptied(s.noted), emptied(s.bins), emptied(s.blocks)
	s.units, s.age = emptied(s.units), emptied(s.age)
	s.bought, s.zones = 0, nil
}

// emptied is the list without its items, all of which are forgotten.
func emptied[T any](list []T) []T {
	list = list[:cap(list)]
	clear(list)
	return list[:0]
}

// arena is where a plan's bins, units and members are made.
type arena struct {
	bins    slab.Of[bin]
	units   slab.Of[unit]
	members slab.Of[member]
	lists   slab.Of[[1]*member]
}

func (a *arena) member(pod *Pod, k *kind) *member {
	m := a.members.New()
	m.pod, m.kind = pod, k
	return m
}

func (a *arena) unit(leader *Pod, m *member, buys bool) *unit {
	u := a.units.New()
	u.leader, u.buys, u.members = leader, buys, a.lists.New()[:]
	u.members[0] = m
	return u
}

func (a *arena) reset() {
	a.bins.Reset()
	a.units.Reset()
	a.members.Reset()
	a.lists.Reset()
}
