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
	tier    tier
	node    *Node // nil for a machine without a node
	pool    *pool // nil for a node outside every pool
	shape   *fit.Shape
	free    fit.Resources
	stay    stay
	planned int // pods placed here by this plan
}

func (b *bin) take(c *fit.Class) { b.free = b.free.Sub(c.Requests); b.planned++ }
func (b *bin) give(c *fit.Class) { b.free = b.free.Add(c.Requests); b.planned-- }

func (b *bin) name() string {
	if b.node == nil {
		return ""
	}
	return b.node.Name
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

// longestFirst orders by descending stay.
func longestFirst(a, b *bin) int {
	return cmp.Or(
		-cmp.Compare(a.stay.rank, b.stay.rank),
		-a.stay.ends.Compare(b.stay.ends),
		-cmp.Compare(a.stay.pods, b.stay.pods),
		strings.Compare(a.name(), b.name()),
	)
}

// addBins finds every place that demand may have, best first.
func (p *planner) addBins() {
	for _, n := range p.snapshot.Nodes {
		if n.Instance.VMID != "" {
			p.joined[n.Instance.VMID] = true
		}
		if b := p.nodeBin(n); b != nil {
			p.bins = append(p.bins, b)
			p.byNode[n.Name] = b
		}
	}
	// Within a tier the node that has to stay longest comes first, so that the
	// others run dry.
	slices.SortFunc(p.bins, func(a, b *bin) int {
		return cmp.Or(cmp.Compare(a.tier, b.tier), longestFirst(a, b))
	})
	for _, po := range p.pools {
		p.addComing(po)
	}
}

// nodeBin returns the place that the node offers now or soon, nil for none.
func (p *planner) nodeBin(n *Node) *bin {
	po := p.poolOf(n)
	b := &bin{node: n, pool: po, shape: &n.Shape}
	switch {
	case n.Deleting != "", n.Instance.State == InstanceDeleting, n.Instance.State == InstanceStopped:
		return nil
	case n.Requested && veto(n, po) == "":
		return nil
	case p.starting(n, po):
		b.tier = tierComing
		b.shape = n.started(po)
	case !n.Ready:
		return nil
	case n.Fence != "":
		b.tier = tierFenced
		b.shape = n.Shape.WithoutTaints(isFence)
	case n.Retirement != nil:
		b.tier = tierMarked
	}
	if po == nil && (b.tier == tierMarked || b.tier == tierFenced) {
		return nil // nobody takes it back
	}
	if po != nil && n.Recorded == "" {
		// The adoption sets this label. Without it a pod that selects it would
		// have another machine bought in between.
		labelled := *b.shape
		labelled.Labels = maps.Clone(labelled.Labels)
		if labelled.Labels == nil {
			labelled.Labels = map[string]string{}
		}
		labelled.Labels[api.PoolLabel] = po.Name
		b.shape = &labelled
	}
	b.free = p.freeOn(b)
	b.stay = p.stayOf(b)
	if po != nil && (b.tier == tierReady || b.tier == tierComing) {
		po.staying++
	}
	if b.tier == tierComing {
		po.arriving++
	}
	return b
}

func (p *planner) poolOf(n *Node) *pool { return p.byPool[strings.ToLower(n.Pool)] }

// joinTimeout is how long a machine may take to become a ready node before
// the demand no longer counts on it. Source: ten times the boot of a slow
// image; Cluster Autoscaler's default, 15 minutes, is of the same order.
const joinTimeout = 15 * time.Minute

// starting reports whether the node has just joined and is about to offer more
// than it does now.
func (p *planner) starting(n *Node, po *pool) bool {
	if po == nil || n.Retirement != nil || n.Fence != "" {
		return false
	}
	unfinished := !n.Ready || n.HasTaint(isStartup) || n.lacksDevices(po)
	return unfinished && p.before(n.Created.Add(joinTimeout))
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
}

func isStartup(t corev1.Taint) bool { return startupTaints[t.Key] }
func isFence(t corev1.Taint) bool   { return t.Key == api.RetiredTaint }

// started is the shape that a starting node will have.
func (n *Node) started(po *pool) *fit.Shape {
	shape := n.Shape.WithoutTaints(isStartup)
	if n.lacksDevices(po) {
		shape.Allocatable = shape.Allocatable.Max(fit.Resources{Scalar: po.Shape.Allocatable.Scalar})
	}
	return shape
}

// freeOn is what is left in a node's bin beside its pods and the DaemonSet
// pods that it will still get.
func (p *planner) freeOn(b *bin) fit.Resources {
	load := b.node.load()
	return b.shape.Allocatable.Sub(load.Others).Sub(load.Daemons.Max(b.shape.Overhead(p.snapshot.Daemons, b.node.Name)))
}

func (p *planner) stayOf(b *bin) stay {
	load := b.node.load()
	s := stay{ends: load.Ends, pods: load.Work}
	switch {
	case b.pool == nil || b.node.Keep != "":
		s.rank = 2
	case load.Permanent > 0:
		s.rank = 1
	}
	return s
}

// addComing adds a bin for each machine of the pool that was bought and is not
// a node yet. What the pool was asked for is on its way unless it is a node or
// lost; a machine whose deletion was accepted is not counted in the capacity.
func (p *planner) addComing(po *pool) {
	if po.Refused != "" || !po.Listed {
		return
	}
	coming := po.Capacity
	for _, i := range po.Instances {
		switch {
		case i.State == InstanceDeleting:
		case p.joined[i.VMID], i.State == InstanceFailed, i.State == InstanceStopped:
			coming--
		case !i.Created.IsZero() && !p.before(i.Created.Add(joinTimeout)):
			coming--
		}
	}
	coming = max(0, coming)
	po.arriving += coming
	po.staying += coming
	if po.Shape == nil {
		return
	}
	for range coming {
		p.bins = append(p.bins, p.machine(po, tierComing))
	}
}

// machine is a machine of the pool as it will be once it has joined.
func (p *planner) machine(po *pool, t tier) *bin {
	return &bin{tier: t, pool: po, shape: po.Shape, free: po.offers}
}
