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
func Plan(s Snapshot) Decision {
	p := newPlanner(s)
	p.holdNominated()
	units := p.units()
	for _, u := range units {
		p.place(u)
	}
	for _, u := range units {
		p.release(u)
	}
	p.grow()
	p.shrink(units)
	p.retire()
	p.explain(units)
	return p.decision
}

// planner is the state of one call to Plan.
type planner struct {
	snapshot *Snapshot
	decision Decision

	pools  []*pool
	byPool map[string]*pool
	// machines are the pools' instances, and joined those that are nodes; both
	// by VMID.
	machines map[string]Instance
	joined   map[string]bool

	bins   []*bin // in the order in which demand is placed
	byNode map[string]*bin
	// unbound are the pods without a node, in the order of demand.
	unbound []*Pod
	// held are the pods that hold the place they were nominated for.
	held map[*Pod]bool
	// next is the first bin that may have room for the class: bins only fill.
	next map[*fit.Class]int
	// pending counts the pods of a class that still have to be placed.
	pending  map[*fit.Class]int
	admitted map[admission]string
	stepped  map[*Node]bool // nodes whose next step is decided
}

type admission struct {
	class *fit.Class
	shape *fit.Shape
}

// pool is a PoolState in the planning.
type pool struct {
	*PoolState
	key    string        // the name without regard to case
	offers fit.Resources // what a new machine has for pods
	// arriving counts the machines that were bought and are no ready node yet,
	// and staying these and the ready nodes that are not marked.
	arriving, staying int
	opened            int // machines to buy
}

func newPlanner(s Snapshot) *planner {
	s.Nodes = slices.SortedFunc(slices.Values(s.Nodes), func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
	s.Pools = slices.SortedFunc(slices.Values(s.Pools), func(a, b PoolState) int { return strings.Compare(a.Name, b.Name) })
	p := &planner{
		snapshot: &s,
		byPool:   map[string]*pool{},
		machines: map[string]Instance{},
		joined:   map[string]bool{},
		byNode:   map[string]*bin{},
		held:     map[*Pod]bool{},
		next:     map[*fit.Class]int{},
		pending:  map[*fit.Class]int{},
		admitted: map[admission]string{},
		stepped:  map[*Node]bool{},
	}
	p.unbound = slices.SortedFunc(slices.Values(s.Waiting), comparePods)
	for i := range s.Pools {
		p.addPool(&s.Pools[i])
	}
	p.refuseServers()
	p.addBins()
	return p
}

// refuseServers leaves pools alone that contain a server of the cluster.
func (p *planner) refuseServers() {
	for _, n := range p.snapshot.Nodes {
		if po := p.poolOf(n); n.Server && po != nil && po.Refused == "" {
			po.Refused = "its machine " + n.Name + " is a server of the cluster"
		}
	}
}

func (p *planner) addPool(state *PoolState) {
	po := &pool{PoolState: state, key: strings.ToLower(state.Name)}
	if po.Shape != nil {
		po.offers = po.Shape.Offers(p.snapshot.Daemons)
	}
	p.pools = append(p.pools, po)
	p.byPool[po.key] = po
	for _, i := range po.Instances {
		p.machines[i.VMID] = i
	}
}

// comparePods orders demand: priority, then age, then name.
func comparePods(a, b *Pod) int {
	return cmp.Or(
		-cmp.Compare(a.Priority, b.Priority),
		a.Created.Compare(b.Created),
		strings.Compare(a.Key.Namespace, b.Key.Namespace),
		strings.Compare(a.Key.Name, b.Key.Name),
	)
}

// admits is Shape.admits, judged once for each class and shape.
func (p *planner) admits(shape *fit.Shape, class *fit.Class, nodeName string) string {
	key := admission{class, shape}
	why, known := p.admitted[key]
	if !known {
		why = shape.Admits(class, nodeName)
		p.admitted[key] = why
	}
	return why
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
