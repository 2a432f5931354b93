package capacity

import (
	"cmp"
	"slices"
	"strings"
	"time"
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
	bins   []*bin // in the order in which demand is placed
	byNode map[string]*bin
	onNode map[string][]*Pod
	// next is the first bin that may have room for the class: bins only fill.
	next    map[*Class]int
	held    map[*Pod]bool  // pods that hold the place they were nominated for
	stepped map[*Node]bool // nodes whose next step is decided
	// pending counts the pods of a class that still have to be placed.
	pending  map[*Class]int
	admitted map[admission]string
}

type admission struct {
	class *Class
	shape *Shape
}

// pool is a PoolState in the planning.
type pool struct {
	*PoolState
	key     string // the name without regard to case
	opened  []*bin // machines to buy
	coming  int    // machines that were bought and have no usable node yet
	staying int    // machines that are there or coming and not marked
}

// tier orders where demand is placed, so that money is the last resort.
type tier int

const (
	tierReady  tier = iota
	tierMarked      // taking back a mark
	tierFenced      // taking back a fence
	tierComing      // machines on their way
	tierNew         // machines to buy
)

// bin is a place with room for pods.
type bin struct {
	tier    tier
	node    *Node // nil for a machine without a node
	pool    *pool // nil for a node outside every pool
	shape   *Shape
	free    Resources
	stay    stay
	planned int // pods placed here by this plan
}

func (b *bin) name() string {
	if b.node == nil {
		return ""
	}
	return b.node.Name
}

func newPlanner(s Snapshot) *planner {
	s.Nodes = slices.SortedFunc(slices.Values(s.Nodes), func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	s.Pools = slices.SortedFunc(slices.Values(s.Pools), func(a, b PoolState) int { return strings.Compare(a.Name, b.Name) })
	s.Pods = slices.SortedFunc(slices.Values(s.Pods), comparePods)
	p := &planner{
		snapshot: &s,
		byPool:   map[string]*pool{},
		byNode:   map[string]*bin{},
		onNode:   map[string][]*Pod{},
		next:     map[*Class]int{},
		held:     map[*Pod]bool{},
		stepped:  map[*Node]bool{},
		pending:  map[*Class]int{},
		admitted: map[admission]string{},
	}
	for i := range s.Pods {
		if pod := &s.Pods[i]; pod.Node != "" {
			p.onNode[pod.Node] = append(p.onNode[pod.Node], pod)
		}
	}
	for i := range s.Pools {
		po := &pool{PoolState: &s.Pools[i], key: strings.ToLower(s.Pools[i].Name)}
		p.pools = append(p.pools, po)
		p.byPool[po.key] = po
	}
	p.addNodeBins()
	for _, po := range p.pools {
		p.addComingBins(po)
	}
	// Within a tier the node that has to stay longest comes first, so that the
	// others run dry.
	slices.SortStableFunc(p.bins, func(a, b *bin) int {
		return cmp.Or(cmp.Compare(a.tier, b.tier), longestFirst(a, b))
	})
	return p
}

// comparePods orders demand: priority, then age, then name.
func comparePods(a, b Pod) int {
	return cmp.Or(
		-cmp.Compare(a.Priority, b.Priority),
		a.Created.Compare(b.Created),
		strings.Compare(a.Key.Namespace, b.Key.Namespace),
		strings.Compare(a.Key.Name, b.Key.Name),
	)
}

// addNodeBins makes a bin of each node that may carry pods now or soon.
func (p *planner) addNodeBins() {
	for i := range p.snapshot.Nodes {
		n := &p.snapshot.Nodes[i]
		po := p.byPool[strings.ToLower(n.Pool)]
		t := tierReady
		shape := &n.Shape
		switch {
		case n.Deleting != "" || n.Requested:
			continue
		case n.Fence != "":
			t = tierFenced
			without := n.Shape.withoutFence()
			shape = &without
		case !n.Ready || n.Shape.hasStartupTaint():
			if !p.starting(n, po) {
				continue
			}
			t = tierComing
			without := n.Shape.withoutStartupTaints()
			shape = &without
		case n.Retirement != nil:
			t = tierMarked
		}
		b := &bin{tier: t, node: n, pool: po, shape: shape, free: p.freeOn(n), stay: p.stayOf(n, po)}
		p.bins = append(p.bins, b)
		p.byNode[n.Name] = b
	}
}

// joinTimeout is how long a machine may take to become a ready node before
// the demand no longer counts on it. Source: ten times the boot of a slow
// image; Cluster Autoscaler's default, 15 minutes, is of the same order.
const joinTimeout = 15 * time.Minute

// starting reports whether a node that is not ready is one that just joined.
func (p *planner) starting(n *Node, po *pool) bool {
	return po != nil && n.Retirement == nil && p.snapshot.Now.Sub(n.Created) < joinTimeout
}

// freeOn is what is left on a node beside its pods and the DaemonSet pods that
// it will still get.
func (p *planner) freeOn(n *Node) Resources {
	var daemons Resources
	free := n.Allocatable
	for _, pod := range p.onNode[n.Name] {
		if pod.Work == Daemon {
			daemons = daemons.Add(pod.Class.Requests)
		} else {
			free = free.Sub(pod.Class.Requests)
		}
	}
	steady := n.Shape.withoutStartupTaints()
	return free.Sub(daemons.max(overhead(&steady, p.snapshot.Daemons, n.Name)))
}

// addComingBins makes a bin of each machine of the pool that was bought and is
// not a usable node yet.
func (p *planner) addComingBins(po *pool) {
	nodes := map[string]*Node{} // by VMID
	for i := range p.snapshot.Nodes {
		if n := &p.snapshot.Nodes[i]; n.Instance.VMID != "" {
			nodes[n.Instance.VMID] = n
		}
	}
	// What is not accounted for below is on its way; the capacity counts
	// neither machines whose deletion was accepted nor, here, lost ones.
	coming := po.Capacity
	for _, i := range po.Instances {
		n, joined := nodes[i.VMID]
		switch {
		case i.State == InstanceDeleting:
		case joined:
			coming--
			if n.Retirement == nil && n.Deleting == "" {
				po.staying++
			}
		case i.State == InstanceFailed, i.State == InstanceStopped,
			!i.Created.IsZero() && p.snapshot.Now.Sub(i.Created) >= joinTimeout:
			coming--
		}
	}
	po.coming = max(0, coming)
	po.staying += po.coming
	if po.Shape == nil {
		return
	}
	for range po.coming {
		p.bins = append(p.bins, p.machine(po, tierComing))
	}
}

// machine is a machine of the pool as it will be once it has joined.
func (p *planner) machine(po *pool, t tier) *bin {
	return &bin{tier: t, pool: po, shape: po.Shape, free: po.Shape.Offers(p.snapshot.Daemons)}
}

// stay is how long a node will have to stay anyway.
type stay struct {
	// rank is 2 for a node outside every pool or a kept one, 1 for one with
	// long-lived pods, else 0.
	rank int
	// ends is the last expected end of the node's work, and pods its amount.
	ends time.Time
	pods int
}

func (p *planner) stayOf(n *Node, po *pool) stay {
	var s stay
	if po == nil || n.Keep != "" {
		s.rank = 2
	}
	for _, pod := range p.onNode[n.Name] {
		if !pod.Work.IsWork() {
			continue
		}
		s.pods++
		if pod.Work == LongLived {
			s.rank = max(s.rank, 1)
		}
		if pod.Ends.After(s.ends) {
			s.ends = pod.Ends
		}
	}
	return s
}

// longestFirst orders by descending stay.
func longestFirst(a, b *bin) int {
	return cmp.Or(
		-cmp.Compare(a.stay.rank, b.stay.rank),
		-a.stay.ends.Compare(b.stay.ends),
		-cmp.Compare(a.stay.pods, b.stay.pods),
		strings.Compare(a.name(), b.name()),
	)
}

// admits is Shape.admits, judged once for each class and shape.
func (p *planner) admits(shape *Shape, class *Class, nodeName string) string {
	key := admission{class, shape}
	why, known := p.admitted[key]
	if !known {
		why = shape.admits(class, nodeName)
		p.admitted[key] = why
	}
	return why
}

// look asks for another plan at t at the latest.
func (p *planner) look(t time.Time) {
	if p.decision.NextLook.IsZero() || t.Before(p.decision.NextLook) {
		p.decision.NextLook = t
	}
}
