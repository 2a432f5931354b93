package capacity

import (
	"cmp"
	"fmt"
	"time"
)

// retire takes every node that is marked, fenced or asked to go one step on.
func (p *planner) retire() {
	for _, po := range p.pools {
		if po.Listed {
			p.restoreMinimum(po)
		}
	}
	for _, b := range p.noted {
		if n := b.node; b.pool != nil && n.Retirement != nil && n.Deleting == "" && n.Restart == nil && p.silent(n) {
			b.pool.giveUps-- // it is about to be
		}
	}
	for _, b := range p.noted {
		if b.pool != nil && b.pool.Listed && !p.stepped[b.node] {
			p.advance(b.node, b.pool)
		}
	}
}

// advance decides the next step of one node.
func (p *planner) advance(n *Node, po *pool) {
	switch {
	case n.Deleting != "":
		p.deleting(n, po)
	case p.lost(n, po):
	case n.Restart != nil:
		p.restarting(n, po)
	case p.interrupted(n):
	case n.Fence != "" || n.Retirement != nil:
		if !p.takenBack(n, po) && (n.Ready || n.Instance.Off() || p.silent(n)) {
			// A node that is silent may still run something, unless its machine
			// is known to be off, or nothing is left there for Kubernetes either.
			p.retiring(n, po)
		}
	case n.Recorded == "" && n.Instance.VMID != "" && n.Instance.State == InstanceDeleting && po.Refused == "":
		// It joined in the moment in which its machine was given up, or taken. Only
		// a node that is known to have been one of ours is forgotten with it.
		p.step(n, Step{Kind: StepAdopt, Why: "it was a machine of " + po.Name})
	case p.unadopted(n):
		if p.silent(n) || p.adoptable(n, po) {
			p.step(n, Step{Kind: StepAdopt, Why: "it is a machine of " + po.Name})
		}
	case p.silent(n) && veto(n, po) == "" && po.giveUps > 0:
		po.giveUps--
		p.step(n, Step{Kind: StepMark, Why: "it is silent since " + clock(n.SilentSince) + " and nothing is left on it"})
	case n.Requested != "" && veto(n, po) == "":
		p.step(n, Step{Kind: StepMark, Why: requestedWhy(n.Requested)})
	case n.Outdated != n.Instance.Outdated && n.mapped():
		p.step(n, Step{Kind: StepRecordModel, Why: modelWhy(n.Instance.Outdated)})
	}
}

// unadopted reports whether the node is a pool's machine that is yet to be
// recorded and labelled as that.
func (p *planner) unadopted(n *Node) bool {
	po := p.poolOf(n)
	tainted := n.Recorded == n.Instance.VMID && n.Ready && n.HasTaint(isOurStartup)
	return (n.Recorded == "" || tainted) && n.Instance.VMID != "" && n.Instance.State != InstanceDeleting && po != nil && po.Refused == ""
}

// takenBack ends the node's retirement if there is a reason to.
func (p *planner) takenBack(n *Node, po *pool) bool {
	work := p.holding(n)
	switch b := p.binOf(n.Name); {
	case veto(n, po) != "":
		p.restore(n, veto(n, po))
	case n.Fence != "" && len(work) > 0:
		p.restore(n, "pod "+work[0].Key.String()+" is on it")
	case b != nil && b.planned > 0:
		p.rescue(n, b.planned)
	case b != nil && b.spare:
		p.restore(n, "it is kept as the pool's buffer")
	case n.Fence != "" && (n.Retirement == nil || n.Retirement.EmptySince == nil):
		p.restore(n, "nothing calls for it any longer")
	default:
		return false
	}
	return true
}

// retiring decides for a node that goes on with its retirement.
func (p *planner) retiring(n *Node, po *pool) {
	idle := po.IdleAfter()
	if n.Requested != "" || p.rolling[n] || !n.Ready {
		idle = 0 // as soon as it is empty
	}
	if n.Fence != "" {
		p.fenced(n, po, idle)
		return
	}
	work, empty := p.holding(n), n.Retirement.EmptySince
	switch {
	case len(work) > 0 && empty != nil:
		p.step(n, Step{Kind: StepRecordBusy, Why: "pod " + work[0].Key.String() + " is on it"})
	case len(work) > 0:
	case empty == nil:
		p.step(n, Step{Kind: StepRecordEmpty, Why: "its last pod has ended", Since: n.Freed})
	// The fence stands for the settling time before the deletion; that time is
	// inside the idle time, not after it.
	case p.before(empty.Add(idle - p.snapshot.Settle)), p.before(n.FenceAfter):
	default:
		p.step(n, Step{Kind: StepFence, Why: "empty since " + clock(empty.Time)})
	}
}

// proofTimeout is how long a fence may take to be provable before it is taken
// back: the API server enforces it within milliseconds.
const proofTimeout = 10 * time.Second

// fenced decides for an empty node with a fence, whose deletion is not
// committed.
func (p *planner) fenced(n *Node, po *pool, idle time.Duration) {
	empty := n.Retirement.EmptySince
	switch {
	case n.Proved.IsZero() && !n.Proving.IsZero() && p.snapshot.Now.Sub(n.Proving) >= proofTimeout:
		p.step(n, Step{Kind: StepUnfence, Unproved: true, Why: "the API server did not prove the fence within " + proofTimeout.String()})
	case n.Proved.IsZero():
		p.step(n, Step{Kind: StepProve, Why: "fenced"})
	case p.before(n.Proved.Add(p.snapshot.Settle)), p.before(empty.Add(idle)):
	default:
		p.step(n, Step{Kind: StepCommit, Fate: cmp.Or(n.Requested, p.fateOf(n, po)), Repair: !n.Ready && n.Requested == "", Why: "empty since " + clock(empty.Time)})
	}
}

// deleting decides for a node whose deletion is committed. Nothing takes that
// back; what contradicts the commitment only keeps it from going on. Kubelets
// may write annotations on their own nodes, so the commitment counts only
// together with the fence, whose label they may not write, and for the machine
// that the node is known to be.
func (p *planner) deleting(n *Node, po *pool) {
	if n.Contradiction() != "" {
		return
	}
	p.evictLate(n, "the deletion of its machine is committed")
	machine, there := p.instance(n.Deleting)
	switch {
	case !there:
		p.step(n, Step{Kind: StepForget, Why: "its machine is gone"})
	case machine.State != InstanceDeleting && veto(n, po) == "":
		p.step(n, Step{Kind: StepDelete, Why: "committed"})
	}
}

// Contradiction says what keeps a committed deletion from going on, "" if nothing
// does or none is committed.
func (n *Node) Contradiction() string {
	switch {
	case n.Deleting == "":
		return ""
	case n.Fence == "":
		return "its fence was removed"
	case n.Keep != "":
		return "it is kept by its " + n.Keep
	case n.Volume != "" && n.Requested == "":
		return n.volumeWhy()
	case n.Recorded != n.Deleting:
		return "it is recorded as another machine than the one to delete"
	}
	return ""
}

// evictLate removes what has landed on the node after its last look, so that
// owners make new pods at once. What Kubernetes had taken before, from a machine
// that is off, is not among that.
func (p *planner) evictLate(n *Node, why string) {
	for _, pod := range p.work(n) {
		if pod.Terminating && !pod.Bound.IsZero() && n.fencedLaterThan(pod.Bound) {
			continue
		}
		p.decision.Evictions = append(p.decision.Evictions, Eviction{Pod: pod.Key, UID: pod.UID, Node: n.Name, Why: why, Late: true})
	}
}

// fencedLaterThan reports whether the node's fence was set after that time.
func (n *Node) fencedLaterThan(t time.Time) bool {
	return n.Retirement != nil && n.Retirement.FencedAt != nil && t.Before(n.Retirement.FencedAt.Time)
}

// rescue ends the node's retirement because demand wants it.
func (p *planner) rescue(n *Node, pods int) {
	why := fmt.Sprintf("%d waiting pods need it", pods)
	if pods == 1 {
		why = "a waiting pod needs it"
	}
	p.step(n, Step{Kind: takeBackKind(n), Why: why, Rescue: true})
}

// restore ends the node's retirement for another reason.
func (p *planner) restore(n *Node, why string) {
	p.step(n, Step{Kind: takeBackKind(n), Why: why})
}

func takeBackKind(n *Node) StepKind {
	if n.Fence != "" {
		return StepUnfence
	}
	return StepUnmark
}

// step decides the node's next step, unless an earlier one failed a moment ago.
func (p *planner) step(n *Node, s Step) {
	p.stepped[n] = true
	if p.before(n.HoldUntil) {
		return
	}
	s.Node, s.UID, s.Pool, s.Instance = n.Name, n.UID, n.Pool, n.Instance
	p.decision.Steps = append(p.decision.Steps, s)
}

// clock shows a time of day.
func clock(t time.Time) string { return t.UTC().Format("15:04:05 MST") }
