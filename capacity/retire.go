package capacity

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// shrink marks the nodes whose absence the demand would not notice.
func (p *planner) shrink(units []*unit) {
	waiting := p.waiting(units)
	candidates := map[*pool][]*bin{}
	for _, b := range p.bins {
		if b.tier != tierReady || b.pool == nil || !b.node.mapped() || b.node.Keep != "" || b.pool.Refused != "" {
			continue
		}
		if b.planned > 0 || b.stay.rank > 0 || p.wanted(b, waiting) || p.settlingIn(b) {
			continue
		}
		candidates[b.pool] = append(candidates[b.pool], b)
	}
	for _, po := range p.pools {
		spare := po.staying - po.Settings.Min
		// The one that will be empty first goes first.
		slices.SortFunc(candidates[po], func(a, b *bin) int { return longestFirst(b, a) })
		for _, b := range candidates[po][:max(0, min(spare, len(candidates[po])))] {
			why := "no waiting pod needs it"
			if b.stay.pods > 0 {
				why = fmt.Sprintf("no waiting pod needs it; %d pods still run on it", b.stay.pods)
			}
			p.step(b.node, StepMark, why)
		}
	}
}

// waiting returns the classes of demand that has no place on a ready node.
func (p *planner) waiting(units []*unit) []*Class {
	seen := map[*Class]bool{}
	var classes []*Class
	for _, u := range units {
		for _, m := range u.members {
			if (m.bin == nil || m.bin.tier != tierReady) && !seen[m.class] {
				seen[m.class] = true
				classes = append(classes, m.class)
			}
		}
	}
	return classes
}

// wanted reports whether a waiting class could use the node once it has room.
func (p *planner) wanted(b *bin, waiting []*Class) bool {
	whole := b.node.Allocatable.Sub(overhead(b.shape, p.snapshot.Daemons, b.name()))
	return slices.ContainsFunc(waiting, func(c *Class) bool {
		return whole.Holds(c.Requests) && (c.Pool == "" || b.pool.is(c.Pool)) && p.admits(b.shape, c, b.name()) == ""
	})
}

// settlingIn reports whether the node received work a short while ago: where
// pods arrive one by one a mark would be taken back with each of them. The
// while is the time for which an empty machine is kept, for the same reason.
func (p *planner) settlingIn(b *bin) bool {
	for _, pod := range p.onNode[b.node.Name] {
		if end := pod.Bound.Add(b.pool.IdleAfter()); pod.Work.IsWork() && p.snapshot.Now.Before(end) {
			p.look(end)
			return true
		}
	}
	return false
}

// retire takes every node that is marked, fenced or asked to go one step on.
func (p *planner) retire() {
	for _, po := range p.pools {
		p.restoreMinimum(po)
	}
	for i := range p.snapshot.Nodes {
		n := &p.snapshot.Nodes[i]
		if po := p.byPool[strings.ToLower(n.Pool)]; po != nil && po.Refused == "" && !p.stepped[n] {
			if p.snapshot.Now.Before(n.HoldUntil) {
				p.look(n.HoldUntil)
				continue
			}
			p.advance(n, po)
		}
	}
}

// advance decides the next step of one node.
func (p *planner) advance(n *Node, po *pool) {
	work := p.work(n)
	switch {
	case n.Deleting != "":
		p.deleting(n, po, work)
	case n.Instance.VMID == "":
		// Not mapped to exactly one machine: on doubt nothing is deleted.
	case n.Recorded == "" && (!n.Ready || n.hasStartupTaint()):
		// It is still starting.
	case n.Recorded == "":
		p.step(n, StepAdopt, "it is a machine of "+po.Name)
	case n.Recorded != n.Instance.VMID:
		// It joined as another machine: the same doubt.
	case n.Fence != "":
		p.fenced(n, po, work)
	case n.Retirement != nil:
		p.marked(n, po, work)
	case n.Requested && n.Keep == "":
		p.step(n, StepMark, "an operator asked for it")
	}
}

// marked decides for a node with a mark and no fence.
func (p *planner) marked(n *Node, po *pool, work []*Pod) {
	b := p.byNode[n.Name]
	switch {
	case n.Keep != "":
		p.step(n, StepUnmark, n.Keep)
	case b != nil && b.planned > 0:
		p.rescue(n, StepUnmark, b.planned)
	case len(work) > 0:
		if n.Retirement.EmptySince != nil {
			p.step(n, StepRecordBusy, "pod "+work[0].Key.String()+" is on it")
		}
	case n.Retirement.EmptySince == nil:
		p.step(n, StepRecordEmpty, "its last pod has ended")
	default:
		// The fence stands for the settling time before the deletion; that time
		// is inside the idle time, not after it.
		at := n.Retirement.EmptySince.Add(po.IdleAfter() - p.snapshot.Settle)
		if p.before(at) || p.before(n.FenceAfter) {
			return
		}
		p.step(n, StepFence, "empty since "+clock(n.Retirement.EmptySince.Time))
	}
}

// proofTimeout is how long a fence may take to be provable before it is taken
// back: the API server enforces it within milliseconds.
const proofTimeout = 10 * time.Second

// fenced decides for a node with a fence whose deletion is not committed.
func (p *planner) fenced(n *Node, po *pool, work []*Pod) {
	b := p.byNode[n.Name]
	switch {
	case n.Keep != "":
		p.step(n, StepUnfence, n.Keep)
	case len(work) > 0:
		p.step(n, StepUnfence, "pod "+work[0].Key.String()+" is on it")
	case b != nil && b.planned > 0:
		p.rescue(n, StepUnfence, b.planned)
	case n.Retirement == nil || n.Retirement.EmptySince == nil:
		p.step(n, StepUnfence, "its retirement is not recorded")
	case n.Proved.IsZero():
		if !n.Proving.IsZero() && p.snapshot.Now.Sub(n.Proving) >= proofTimeout {
			p.step(n, StepUnfence, "the API server did not prove the fence within "+proofTimeout.String())
			p.decision.Steps[len(p.decision.Steps)-1].Unproved = true
			return
		}
		p.step(n, StepProve, "fenced")
	case p.before(n.Proved.Add(p.snapshot.Settle)):
	case p.before(n.Retirement.EmptySince.Add(po.IdleAfter())):
	default:
		p.step(n, StepCommit, "empty since "+clock(n.Retirement.EmptySince.Time))
	}
}

// deleting decides for a node whose deletion is committed. Kubelets may write
// annotations on their own nodes, so the commitment counts only together with
// the fence, whose label they may not write, and for the machine that the node
// is known to be.
func (p *planner) deleting(n *Node, po *pool, work []*Pod) {
	at := slices.IndexFunc(po.Instances, func(i Instance) bool { return i.VMID == n.Deleting })
	if n.Fence == "" || at >= 0 && n.Instance.VMID != n.Deleting {
		return
	}
	for _, pod := range work {
		p.decision.Evictions = append(p.decision.Evictions, Eviction{Pod: pod.Key, UID: pod.UID, Node: n.Name})
	}
	switch {
	case at >= 0 && po.Instances[at].State != InstanceDeleting:
		p.step(n, StepDelete, "committed")
	case at < 0 && po.Listed:
		p.step(n, StepForget, "its machine is gone")
	}
}

// restoreMinimum takes marks back where a pool's minimum was raised.
func (p *planner) restoreMinimum(po *pool) {
	short := po.Settings.Min - po.staying
	for _, b := range p.bins {
		if short <= 0 {
			return
		}
		if b.pool != po || b.tier != tierMarked && b.tier != tierFenced {
			continue
		}
		short--
		kind := StepUnmark
		if b.tier == tierFenced {
			kind = StepUnfence
		}
		p.step(b.node, kind, fmt.Sprintf("the pool's minimum is %d", po.Settings.Min))
	}
}

// work returns the pods that keep the node from being empty.
func (p *planner) work(n *Node) []*Pod {
	var work []*Pod
	for _, pod := range p.onNode[n.Name] {
		if pod.Work.IsWork() {
			work = append(work, pod)
		}
	}
	return work
}

func (p *planner) rescue(n *Node, kind StepKind, pods int) {
	why := fmt.Sprintf("%d waiting pods need it", pods)
	if pods == 1 {
		why = "a waiting pod needs it"
	}
	p.step(n, kind, why)
	p.decision.Steps[len(p.decision.Steps)-1].Rescue = true
}

func (p *planner) step(n *Node, kind StepKind, why string) {
	p.decision.Steps = append(p.decision.Steps, Step{Node: n.Name, UID: n.UID, Kind: kind, Pool: n.Pool, Instance: n.Instance, Why: why})
	p.stepped[n] = true
}

// before reports whether t is still to come, and asks for a plan then.
func (p *planner) before(t time.Time) bool {
	if !p.snapshot.Now.Before(t) {
		return false
	}
	p.look(t)
	return true
}

// clock shows a time of day.
func clock(t time.Time) string { return t.UTC().Format("15:04:05 MST") }
