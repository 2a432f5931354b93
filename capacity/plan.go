package capacity

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// Plan decides what to do. It is a pure function: equal snapshots give equal
// decisions, whatever the order of their lists.
func Plan(s Snapshot) Decision { return new(Memory).Plan(s) }

// planner is the state of one call to Plan.
type planner struct {
	snapshot *Snapshot
	decision Decision

	pools  []*pool
	byPool map[string]*pool
	last   *pool           // that was looked up
	joined map[string]bool // VMIDs of young machines that are nodes
	// machines are all pools' together that are paid for, those to buy included.
	machines struct {
		count int
		price float64 // per hour
	}

	*scratch
	// largest is the most that any node or new machine has of each resource.
	largest fit.Resources
	// mostLater is the most that any ready node will have of each resource once the
	// work that ends by itself has ended.
	mostLater fit.Resources
	// unbound are the pods without a node, in the order of demand.
	unbound []*Pod
	// held are the pods that hold the place they were nominated for.
	held map[*Pod]*bin

	// smallMachines is true while more and smaller machines are bought where
	// these cost the same.
	smallMachines bool
	// soonestFree are the machines that may yet be kept free for a unit; nil
	// until they are needed.
	soonestFree []*bin
	// unwelcome are the wishes that none of these meets.
	unwelcome map[*fit.Wish]bool
	// searched is how many machines were looked at for pods without a place.
	searched int

	// looks counts how many places were compared by preference.
	looks int

	// order is that in which the units were placed.
	order    []run
	kinds    map[*fit.Class]*kind
	families map[string]*family
	byWish   map[*fit.Wish]*family
	forSale  *family // all pools that may be bought from
	zonal    bool    // a rule of some kind counts pods by zones
	// promising is true if some node is planned with volume drivers that it lacks yet.
	promising bool
	// allJoined is true once every kind has its family.
	allJoined bool
	stepped   map[*Node]bool // nodes whose next step is decided
	rolling   map[*Node]bool // see rolling
}

// pool is a PoolState in the planning.
type pool struct {
	*PoolState
	key    string        // the name without regard to case
	number int           // in the order of names
	offers fit.Resources // what a new machine has for pods
	// zones are what a new machine looks like in each zone, with the machines
	// that are there or on their way; one for a pool without zones.
	zones []zone
	// arriving counts the machines that were bought and are no ready node yet,
	// and staying these and the ready nodes that are not marked.
	arriving, staying int
	opened            int // machines to start or to buy
	spare             int // those of them that are bought as a buffer
	// stopped counts the deallocated machines that may be started.
	stopped int
	// failing says why nothing is bought after too many machines did not join.
	failing string
	// giveUps is how many machines of the pool may still be given up.
	giveUps int
	// coming is what a pod was told last that waits for a machine of the pool.
	coming Reason
	// reserving is true while a machine of the pool is kept free for a unit.
	reserving bool
}

type zone struct {
	shape    *fit.Shape
	name     string // by the shape's label, "" for none
	machines int    // that are there or on their way
	stopped  int    // those of them that are deallocated and may be started
	starting int    // those of these that are to be started
	buying   int    // machines to buy that will be there
}

func newPlanner(s Snapshot, m *Memory) *planner {
	s.Nodes = m.sort(s.Nodes)
	s.Pools = slices.SortedFunc(slices.Values(s.Pools), func(a, b PoolState) int { return strings.Compare(a.Name, b.Name) })
	p := &planner{
		snapshot: &s,
		byPool:   map[string]*pool{},
		joined:   map[string]bool{},
		scratch:  &m.scratch,
		held:     map[*Pod]*bin{},
		kinds:    map[*fit.Class]*kind{},
		families: map[string]*family{},
		byWish:   map[*fit.Wish]*family{},
		stepped:  map[*Node]bool{},
	}
	p.unbound = sorted(s.Waiting, ComparePods)
	for i := range s.Pools {
		p.addPool(&s.Pools[i])
	}
	p.addBins(m)
	return p
}

func (p *planner) addPool(state *PoolState) {
	po := &pool{PoolState: state, key: strings.ToLower(state.Name), number: len(p.pools), giveUps: state.repairsLeft(p.snapshot.Now)}
	if po.Shape != nil {
		po.offers = po.Shape.Offers(p.snapshot.Daemons)
		po.zones = zonesOf(state)
	}
	var until time.Time
	if po.failing, until = state.Failing(p.snapshot.Now); po.failing != "" {
		p.before(until)
	}
	p.pools = append(p.pools, po)
	p.byPool[po.key] = po
	if po.Refused == "" {
		p.pay(po, po.Capacity)
	}
	for _, i := range po.Instances {
		if i.Deallocated && i.Off() && po.Refused == "" {
			p.pay(po, -1)
		}
		if i.State != InstanceDeleting && po.Shape != nil {
			po.zoneOf(i.Zone).machines++
		}
	}
}

// pay counts n more machines of the pool as paid for.
func (p *planner) pay(po *pool, n int) {
	p.machines.count += n
	p.machines.price += float64(n) * po.Settings.PricePerHour
}

// expect tells the world which machines may be bought, if there are pods that
// have to be spread over them.
func (p *planner) expect() {
	if !p.anyTied() {
		return
	}
	for _, po := range p.pools {
		if po.Refused == "" && p.closed(po) == "" {
			for _, z := range po.zones {
				p.world.Expect(z.shape)
			}
		}
	}
}

// anyTied reports whether a rule of some waiting pod looks at other pods.
func (p *planner) anyTied() bool {
	for _, k := range p.kinds {
		if k.tied {
			return true
		}
	}
	return false
}

// sorted returns the list in order, the list itself if it is.
func sorted[T any](list []T, compare func(a, b T) int) []T {
	if !slices.IsSortedFunc(list, compare) {
		list = slices.Clone(list)
		slices.SortFunc(list, compare)
	}
	return list
}

// ComparePods orders demand: priority, then age, then name.
func ComparePods(a, b *Pod) int {
	return cmp.Or(
		-cmp.Compare(a.Priority, b.Priority),
		a.Created.Compare(b.Created),
		strings.Compare(a.Key.Namespace, b.Key.Namespace),
		strings.Compare(a.Key.Name, b.Key.Name),
		strings.Compare(string(a.UID), string(b.UID)),
	)
}

// before reports whether t is still to come, and asks for a plan then.
func (p *planner) before(t time.Time) bool {
	if !p.snapshot.Now.Before(t) {
		return false
	}
	if p.decision.NextLook.IsZero() || t.Before(p.decision.NextLook) {
		p.decision.NextLook = t
	}
	return true
}
