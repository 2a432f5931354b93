package capacity

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

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
	tier tier
	node *Node // nil for a machine without a node
	pool *pool // nil for a node outside every pool
	zone *zone // of a machine without a node
	// zoneName is the zone that the scheduler sees it in, "" for none.
	zoneName string
	due      time.Time // when a machine without a node should be ready
	place    *fit.Place
	stay     stay
	room     float64 // what it has free before the plan
	// later is what it will have free before the plan once the work that ends by
	// itself has ended.
	later  fit.Resources
	number int // in the order of the nodes' names, machines without a node last
	// at is its place in the order in which demand is placed, and inZone that in
	// the queue of its zone, which has the number queue.
	at, queue, inZone int
	takes             bool // pods may be placed here
	plain             bool // nothing is noted about the node
	// outdated is true for a machine that lacks the latest model.
	outdated bool
	planned  int // pods placed here by this plan
	// contents are the planned pods of a machine to buy.
	contents []fit.Count
	spare    bool // it is kept as its pool's buffer
	ahead    bool // it is to be bought before a pod was placed on it
	dropped  bool // it was to be bought, and is not needed any more
	starts   bool // of a machine to open: a deallocated one is started, none is bought
	// promised is true for a node that is planned with volume drivers that it lacks yet.
	promised bool
	// reserved is the unit that the node is kept free for, nil for none.
	reserved *unit
}

func (b *bin) put(w *fit.World, c *fit.Class, n int) {
	w.Put(b.place, c, n)
	b.planned += n
	if b.tier == tierNew {
		b.add(c, n)
	}
}

func (b *bin) lift(w *fit.World, c *fit.Class, n int) {
	w.Lift(b.place, c, n)
	b.planned -= n
	if b.tier == tierNew {
		b.add(c, -n)
	}
}

func (b *bin) add(c *fit.Class, n int) {
	for i := range slices.Backward(b.contents) {
		if b.contents[i].Class == c {
			b.contents[i].N += n
			return
		}
	}
	b.contents = append(b.contents, fit.Count{Class: c, N: n})
}

func (b *bin) retiring() bool { return b.tier == tierMarked || b.tier == tierFenced }

func (b *bin) name() string {
	if b.node == nil {
		return ""
	}
	return b.node.Name
}

// stay is how long a node will have to stay anyway.
type stay struct {
	// rank is 2 for a node outside every pool, a kept one or one with a volume, 1 for one with
	// long-lived pods, else 0.
	rank int
	// ends is the last expected end of the node's work, and pods its amount.
	ends time.Time
	pods int
}

// longestFirst orders by tier, outdated machines last, and then by descending stay, so that the other
// nodes run dry. Of machines on their way the largest comes first, for which
// the largest pods may have been the reason.
func longestFirst(a, b *bin) int {
	return cmp.Or(
		cmp.Compare(a.tier, b.tier),
		boolCompare(a.outdated, b.outdated),
		-cmp.Compare(a.stay.rank, b.stay.rank),
		-a.stay.ends.Compare(b.stay.ends),
		-cmp.Compare(a.stay.pods, b.stay.pods),
		cmp.Compare(a.number, b.number),
	)
}

// largestFirst orders what is there or paid for by the room it has: packed in
// that order pods fit again onto the machines that were bought for them, no
// matter which of these are ready. Retirements are taken back only after that.
func largestFirst(a, b *bin) int {
	return cmp.Or(
		boolCompare(a.retiring(), b.retiring()),
		-cmp.Compare(a.room, b.room),
		longestFirst(a, b),
	)
}

// room is how much of the largest machine's CPU and memory is there in all.
func (p *planner) room(r fit.Resources) float64 {
	return share(r.MilliCPU, p.largest.MilliCPU) + share(r.Memory, p.largest.Memory)
}

func share(part, whole int64) float64 {
	if part <= 0 || whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// sortBins sorts the bins in which demand is placed, and puts them into their
// queues.
func (p *planner) sortBins(compare func(a, b *bin) int) {
	slices.SortFunc(p.bins, compare)
	bins := p.bins
	p.queue.cut(0)
	for i := range p.zones {
		p.zones[i].cut(0)
	}
	for _, b := range bins {
		p.enqueue(b)
	}
}

// addBins finds every place that demand may have, best first. Nodes that can
// take no pods are in the world all the same: they count where pods are to be
// spread.
func (p *planner) addBins(m *Memory) {
	m.align(p)
	p.nodes = slices.Grow(p.nodes, len(m.nodes))[:len(m.nodes)]
	for i := range m.nodes {
		r := &m.nodes[i]
		if r.node == nil {
			*r = p.remember(p.snapshot.Nodes[i])
		}
		p.nodes[i] = r.bin
		b := &p.nodes[i]
		b.number, b.place = i, p.world.Add(r.place)
		if r.pool != none {
			b.pool = p.pools[r.pool]
		}
		if !b.plain {
			p.noted = append(p.noted, b)
		}
		p.promising = p.promising || b.promised
	}
	p.rolling = p.findRolling()
	for _, b := range p.noted {
		b.takes = b.takes && !p.rolling[b.node]
		if b.pool != nil {
			p.countStopped(b)
		}
	}
	m.sortNodes(p.nodes)
	for _, i := range m.order {
		if b := &p.nodes[i]; b.takes {
			b.pool.count(b)
			p.bins = append(p.bins, b)
			p.largest = p.largest.Max(m.nodes[i].allocatable)
			p.mostLater = p.mostLater.Max(b.later)
		}
	}
	for _, po := range p.pools {
		p.addComing(po)
		if po.Shape != nil {
			p.largest = p.largest.Max(po.offers)
		}
	}
	for _, b := range p.bins {
		b.room = p.room(b.place.Free)
	}
	p.bought = len(p.bins)
}

// binOf returns the bin of the node with that name, nil if it takes no pods.
func (p *planner) binOf(name string) *bin {
	i, found := slices.BinarySearchFunc(p.snapshot.Nodes, name, func(n *Node, name string) int { return strings.Compare(n.Name, name) })
	if !found || !p.nodes[i].takes {
		return nil
	}
	return &p.nodes[i]
}

// nodeShape returns what the node looks like or is about to look like, and
// whether it takes pods now or soon; it sets the bin's tier.
func (p *planner) nodeShape(b *bin) (shape *fit.Shape, takes bool) {
	n, po := b.node, b.pool
	shape = &n.Shape
	switch {
	case n.Deleting == "" && po != nil && n.startedAgain() && p.before(n.Restart.Started.Add(restartTimeout)):
		b.tier = tierComing
		shape = n.started(po).WithoutTaints(isFence)
		return shape, true
	case n.Deleting != "", n.Restart != nil, n.Instance.State == InstanceDeleting, n.Instance.Off():
		return shape, false
	case n.Requested != "" && veto(n, po) == "", len(p.interruptions(n)) > 0:
		return shape, false
	case p.missing(n, po):
		return shape, false
	case p.starting(n, po):
		b.tier = tierComing
		shape = n.started(po)
	case !n.Ready:
		return shape, false
	case n.Fence != "":
		b.tier = tierFenced
		shape = n.Shape.WithoutTaints(isFence)
	case n.Retirement != nil:
		b.tier = tierMarked
	}
	if po == nil && (b.tier == tierMarked || b.tier == tierFenced) {
		return shape, false // nobody takes it back
	}
	if p.registering(n, po) {
		b.promised = true
		shape = shape.WithDrivers(po.zoneOf(zoneOf(shape)).shape)
	}
	if po != nil && n.Recorded == "" {
		// The adoption sets this label. Without it a pod that selects it would
		// have another machine bought in between.
		labelled := *shape
		labelled.Labels = maps.Clone(labelled.Labels)
		if labelled.Labels == nil {
			labelled.Labels = map[string]string{}
		}
		labelled.Labels[api.PoolLabel] = po.Name
		shape = &labelled
	}
	return shape, true
}

// count counts a node that takes pods, if it is of a pool.
func (po *pool) count(b *bin) {
	switch {
	case po == nil:
	case b.tier == tierComing:
		po.arriving++
		po.staying++
	case b.tier == tierReady:
		po.staying++
	}
}

// instance returns the machine with that VMID, and whether any pool has it.
func (p *planner) instance(vmid string) (Instance, bool) {
	for _, po := range p.pools {
		if i := slices.IndexFunc(po.Instances, func(i Instance) bool { return i.VMID == vmid }); i >= 0 {
			return po.Instances[i], true
		}
	}
	return Instance{}, false
}

func (p *planner) poolOf(n *Node) *pool {
	if p.last == nil || p.last.Name != n.Pool {
		p.last = p.byPool[strings.ToLower(n.Pool)]
	}
	return p.last
}

// joinsUntil is how long the machine is counted on although it is no node yet; zero
// for ever, since nobody knows when it was bought.
func (p *PoolState) joinsUntil(i Instance) time.Time {
	since := later(i.Created, p.Unjoined[i.VMID]) // a reimaged one joins anew
	if since.IsZero() {
		return since
	}
	return since.Add(JoinTimeout)
}

// mayJoin reports whether the pool's machine is counted on although it is no node
// yet.
func (p *planner) mayJoin(po *pool, i Instance) bool {
	until := po.joinsUntil(i)
	return until.IsZero() || p.snapshot.Now.Before(until)
}

// JoinTimeout is how long a machine may take to become a ready node, and that to
// offer all that it will, before the demand no longer counts on it. Source: ten times
// the boot of a slow image; Cluster Autoscaler's default, 15 minutes, is of the same
// order.
const JoinTimeout = 15 * time.Minute

// starting reports whether the node has just joined and is about to offer more
// than it does now.
func (p *planner) starting(n *Node, po *pool) bool {
	if po == nil || n.Retirement != nil || n.Fence != "" {
		return false
	}
	unfinished := !n.Ready || n.HasTaint(isStartup) || n.lacksDevices(po)
	return unfinished && p.before(n.Created.Add(JoinTimeout))
}

// registering reports whether volume drivers that the pool's machines have are yet to
// register on the node. Other pods do not wait for them.
func (p *planner) registering(n *Node, po *pool) bool {
	return po != nil && po.Shape != nil && n.LacksDrivers(po.Shape) && p.before(n.Created.Add(JoinTimeout))
}

// adoptable reports whether nothing but its adoption is yet to come before the
// node takes pods. What device plugins fail to register is not waited for.
func (p *planner) adoptable(n *Node, po *pool) bool {
	others := func(t corev1.Taint) bool { return isStartup(t) && !isOurStartup(t) }
	return n.Ready && !n.HasTaint(others) && !(n.lacksDevices(po) && p.before(n.Created.Add(JoinTimeout)))
}

// lacksDevices reports whether the node does not offer yet what the pool's
// machines offer beside CPU and memory: device plugins register late.
func (n *Node) lacksDevices(po *pool) bool {
	if po.Shape == nil {
		return false
	}
	for name := range po.Shape.Allocatable.Scalar {
		if n.Allocatable.Scalar[name] == 0 {
			return true
		}
	}
	return false
}

// startupTaints come with a node that is still starting and go by themselves.
// Source: Kubernetes documentation, "Taints and Tolerations".
var startupTaints = map[string]bool{
	corev1.TaintNodeNotReady:                         true,
	corev1.TaintNodeUnreachable:                      true,
	corev1.TaintNodeNetworkUnavailable:               true,
	"node.cloudprovider.kubernetes.io/uninitialized": true,

	api.StartupTaint: true, // goes with the adoption
}

func isStartup(t corev1.Taint) bool    { return startupTaints[t.Key] }
func isOurStartup(t corev1.Taint) bool { return t.Key == api.StartupTaint }
func isFence(t corev1.Taint) bool      { return t.Key == api.RetiredTaint }

// started is the shape that a starting node will have.
func (n *Node) started(po *pool) *fit.Shape {
	shape := n.Shape.WithoutTaints(isStartup)
	if n.lacksDevices(po) {
		shape.Allocatable = shape.Allocatable.Max(fit.Resources{Scalar: po.Shape.Allocatable.Scalar})
	}
	return shape
}

// freeOn is what is left on a node of that shape beside its pods and the
// DaemonSet pods that it will still get.
func (p *planner) freeOn(n *Node, shape *fit.Shape) fit.Resources {
	load := n.load()
	return shape.Allocatable.Sub(load.Others).Sub(load.Daemons.Max(shape.Overhead(p.snapshot.Daemons, n.Name)))
}

func stayOf(b *bin) stay {
	load := b.node.load()
	s := stay{ends: load.Ends, pods: load.Work}
	switch {
	case b.pool == nil || b.node.Keep != "" || b.node.Volume != "":
		s.rank = 2
	case load.Permanent > 0:
		s.rank = 1
	}
	return s
}

// addComing adds a bin for each machine of the pool that was bought and is not
// a node yet. What the pool was asked for is on its way unless it is a node,
// lost, or not even listed once the cloud has done with the pool or for too long; a
// machine whose deletion was accepted is not counted in the capacity.
func (p *planner) addComing(po *pool) {
	if po.Refused != "" || !po.Listed {
		return
	}
	coming := po.Capacity - po.Unlisted
	var listed []Instance
	for _, i := range po.Instances {
		switch {
		case i.State == InstanceDeleting:
		case p.joined[i.VMID], i.State == InstanceFailed, i.State == InstanceStopped:
			coming--
		case !p.mayJoin(po, i):
			coming--
		default:
			p.before(po.joinsUntil(i))
			listed = append(listed, i)
		}
	}
	if po.Settled {
		coming = min(coming, len(listed))
	}
	coming = max(0, coming)
	po.arriving += coming
	po.staying += coming
	if po.Shape == nil {
		return
	}
	slices.SortFunc(listed, func(a, b Instance) int { return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.VMID, b.VMID)) })
	for n := range coming {
		asked, z := po.Asked, po.balancedZone()
		if n < len(listed) {
			asked, z = listed[n].Created, po.zoneOf(listed[n].Zone)
		} else {
			z.machines++
		}
		b := p.machine(po, z, tierComing)
		b.number = len(p.nodes) + len(p.bins)
		if !asked.IsZero() {
			b.due = asked.Add(po.BootTime)
		}
		p.bins = append(p.bins, b)
	}
}

// machine is a machine of the pool in that zone as it will be once it has
// joined.
func (p *planner) machine(po *pool, z *zone, t tier) *bin {
	b := p.arena.bins.New()
	b.starts = t == tierNew && z.starts()
	b.tier, b.pool, b.zone, b.zoneName, b.place = t, po, z, z.name, p.world.Add(fit.PlaceOf(z.shape, "", po.offers, nil))
	return b
}
