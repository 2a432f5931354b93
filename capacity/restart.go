package capacity

import (
	"time"

	"github.com/tidegate-k3s/tidegate/api"
)

// restartTimeout is how long a restart may take to be carried out by the cloud,
// and then the node to be back, before the node is left to itself. It is as much
// as a new machine gets.
const restartTimeout = JoinTimeout

// restartMargin is for how long a request to the cloud may be on its way: two
// minutes until the manager makes no further attempt, and one more on the way.
// Before that nobody asks again and the node does not serve, lest the request
// arrives when it does.
const restartMargin = 3 * time.Minute

// requestedWhy is the reason of a mark that an operator asked for.
func requestedWhy(f api.Fate) string {
	if f == api.FateDelete {
		return "an operator asked for it"
	}
	return "an operator asked for a " + string(f)
}

// fateOf is what becomes of the node's machine when it is retired and nobody asked
// for anything else. One that is no good, or not like the next ones, is not kept; nor
// one that the cloud does not deallocate.
func (p *planner) fateOf(n *Node, po *pool) api.Fate {
	if n.Ready && po.keepsOff(n.Instance) && !p.before(po.DeletesUntil) {
		return api.FateDeallocate
	}
	return api.FateDelete
}

// keepsOff reports whether the pool keeps such a machine deallocated.
func (po *pool) keepsOff(i Instance) bool { return po.Settings.Deallocate && !i.Outdated }

// deallocated reports whether the node's machine was retired by deallocating it
// and is off.
func (n *Node) deallocated() bool {
	r := n.Restart
	return r != nil && r.Fate == api.FateDeallocate && r.Done != nil && r.Started == nil && r.VMID == n.Recorded && n.Fence != "" && n.Instance.Off()
}

// startedAgain reports whether the node's deallocated machine is being started.
func (n *Node) startedAgain() bool {
	r := n.Restart
	return r != nil && r.Fate == api.FateDeallocate && r.Started != nil && r.VMID == n.Recorded && n.Fence != ""
}

// startable reports whether the machine may be started instead of buying one. One
// that is to be reimaged is so once it runs.
func (p *planner) startable(n *Node, po *pool) bool {
	return n.deallocated() && untouchable(n, po) == "" && po.keepsOff(n.Instance) && n.Requested != api.FateDelete && !p.before(n.HoldUntil)
}

// countStopped counts the node's machine if it is deallocated and may be started, and
// as paid for if that has been asked for and is not to be seen yet.
func (p *planner) countStopped(b *bin) {
	n, po := b.node, b.pool
	switch {
	case p.startable(n, po):
		po.stopped++
		if len(po.zones) > 0 {
			po.zoneOf(n.Instance.Zone).stopped++
		}
	case n.startedAgain() && n.Instance.Deallocated && n.Instance.Off() && po.Refused == "":
		p.pay(po, 1)
	}
}

// starts is how many of the machines to open are started: in each zone as many as are
// off there, and for what is opened in no particular one any.
func (po *pool) starts() int {
	if po.stopped == 0 {
		return 0
	}
	starts, zonal := 0, 0
	for i := range po.zones {
		starts += po.zones[i].starting
		zonal += po.zones[i].starting + po.zones[i].buying
	}
	return starts + min(po.opened-zonal, po.stopped-starts)
}

// buys is how many of the machines to open are bought.
func (po *pool) buys() int { return po.opened - po.starts() }

// start starts the deallocated machines of the pool that are needed, each in its zone;
// what is left to open is to be bought.
func (p *planner) start(po *pool) {
	anywhere, started := po.starts(), 0
	left := map[*zone]int{}
	for i := range po.zones {
		z := &po.zones[i]
		left[z] = z.starting
		anywhere -= left[z]
	}
	for _, b := range p.noted {
		if b.pool != po || p.stepped[b.node] || !p.startable(b.node, po) {
			continue
		}
		if len(po.zones) > 0 && left[po.zoneOf(b.node.Instance.Zone)] > 0 {
			left[po.zoneOf(b.node.Instance.Zone)]--
		} else if anywhere > 0 {
			anywhere--
		} else {
			continue
		}
		p.step(b.node, Step{Kind: StepStart, Why: "waiting pods or the pool's minimum need a machine"})
		started++
	}
	for i := range po.zones {
		z := &po.zones[i]
		z.starting, z.stopped = 0, z.stopped-z.starting
	}
	po.opened, po.stopped, po.arriving = po.opened-started, po.stopped-started, po.arriving+started
}

// stopped decides for a node whose machine was retired by deallocating it.
func (p *planner) stopped(n *Node, po *pool, machine Instance) {
	r := n.Restart
	switch {
	case r.Started != nil && !p.before(r.Started.Add(restartTimeout)):
		p.notBack(n, po, machine, "the node was not back within "+api.ShortDuration(restartTimeout)+" of its machine's start")
	case r.Started != nil && machine.Off():
		p.step(n, Step{Kind: StepStart, Why: "not started yet"})
	case r.Started != nil || !machine.Off(): // it will be back
	case n.Requested != api.FateDelete && po.keepsOff(machine): // until it is needed
	case veto(n, po) != "" || len(p.holding(n)) > 0:
	case n.Proved.IsZero():
		p.step(n, Step{Kind: StepProve, Why: "fenced"})
	default:
		p.step(n, Step{Kind: StepCommit, Fate: api.FateDelete, Why: "it is off, and not to be started again"})
	}
}

// restarting decides for a node whose machine is committed to be restarted or
// reimaged. It happens once: when the node is back, or has not come back in
// time, all that asked for it is taken away. Like a deletion's the commitment
// counts only together with the fence, and for the machine that the node is
// known to be; what contradicts it only keeps it from going on, since another
// leader may have asked the cloud already.
func (p *planner) restarting(n *Node, po *pool) {
	r, work := n.Restart, p.work(n)
	machine, there := p.instance(r.VMID)
	asked := r.Done != nil || machine.State == InstanceRestarting
	if asked && n.Fence != "" && r.VMID == n.Recorded {
		p.evictLate(n, "the "+string(r.Fate)+" of its machine is committed")
	}
	switch {
	case n.Fence == "" || r.VMID != n.Recorded:
		p.restore(n, "it has no fence that its "+string(r.Fate)+" was committed with")
	case !there: // if it is gone for good the node is forgotten as a lost one
	case r.Done == nil && r.Asked != nil && p.before(r.Asked.Add(restartMargin)):
	case r.Started == nil && machine.State == InstanceRestarting: // it may yet end what runs there
	case n.backFrom(r) && (r.Done != nil || r.Fate == api.FateRestart && !machine.Changing):
		p.step(n, Step{Kind: StepReturn, Fate: r.Fate, Why: "its machine is back after the " + string(r.Fate)})
	case machine.State == InstanceRestarting:
	case r.Done == nil && p.before(r.Since.Add(restartTimeout-restartMargin)):
		if veto(n, po) != "" || len(work) > 0 || machine.Changing {
			return
		}
		p.step(n, Step{Kind: StepRestart, Fate: r.Fate, Why: "committed"})
	case r.Done == nil && p.before(r.Since.Add(restartTimeout)):
	case r.Done == nil:
		p.notBack(n, po, machine, "Azure has not carried out the "+string(r.Fate)+" within "+api.ShortDuration(restartTimeout))
	case r.Fate == api.FateDeallocate:
		p.stopped(n, po, machine)
	case r.Fate == api.FateReimage:
		// The new system has neither the old one's password, with which k3s knows
		// an agent by its node's name, nor perhaps its name: it joins as a new node.
		p.step(n, Step{Kind: StepForget, Why: "its machine was reimaged and joins anew", Reimaged: true})
	case p.before(r.Done.Add(restartTimeout)):
	default:
		p.notBack(n, po, machine, "the node was not back within "+api.ShortDuration(restartTimeout)+" of the "+string(r.Fate))
	}
}

// backFrom reports whether the node is ready in another run of its machine than
// the one that was to be ended.
func (n *Node) backFrom(r *api.Restart) bool {
	return n.Ready && n.BootID != r.BootID && !n.HasTaint(isStartup)
}

// notBack gives up what the node was committed to. One that is ready serves as
// before, unless the cloud is still at work on its machine: what was asked for may
// then come while pods run there. Any other stays fenced until it is back, lest somebody who
// tolerates everything binds pods to it; unless there is a reason to keep it, its
// machine is deleted meanwhile like any other that is silent.
func (p *planner) notBack(n *Node, po *pool, machine Instance, why string) {
	switch {
	case n.Ready && machine.State == InstanceRunning && !machine.Changing:
		p.step(n, Step{Kind: StepReturn, Why: why, Failed: true})
	case veto(n, po) != "" || len(p.holding(n)) > 0 || po.giveUps <= 0:
	case n.Proved.IsZero():
		p.step(n, Step{Kind: StepProve, Why: "fenced"})
	case p.before(n.Proved.Add(p.snapshot.Settle)):
	default:
		po.giveUps--
		p.step(n, Step{Kind: StepCommit, Fate: api.FateDelete, Why: why, Failed: true, Repair: true})
	}
}
