package capacity

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidegate-k3s/tidegate/api"
)

// Lowered is a drop of a pool's capacity that Tidegate did not ask for.
type Lowered struct {
	From, To int
	At       time.Time
}

func (l Lowered) String() string {
	return fmt.Sprintf("its capacity was lowered from %d to %d at %s, and not by Tidegate: Azure then chooses machines to delete, whatever runs there; look for an autoscale rule on the scale set, another autoscaler or a person", l.From, l.To, clock(l.At))
}

// UnlistedText says what becomes of capacity for which there are no machines.
func (p *PoolState) UnlistedText() string {
	return fmt.Sprintf("its capacity counts %s that Azure has not listed for a long time: Tidegate does not count on them any more, though they count against the pool's maximum and the spending limits; look for what the set is waiting for: az vmss get-instance-view --resource-group GROUP --name %s", machines(p.Unlisted), p.Name)
}

// Announced reports whether Azure has announced that it takes the node's machine
// for good.
func (n *Node) Announced() bool {
	return slices.ContainsFunc(n.Interruptions, func(i api.Interruption) bool { return !api.Returns(i.Type) })
}

// missing reports whether the node's machine is in no list although it was known:
// Azure has taken it, or a person has. Until the node is silent too the lists may
// be wrong; but nothing is opened for pods, or released, on such a doubt.
func (p *planner) missing(n *Node, po *pool) bool {
	if n.Instance.VMID != "" || n.Recorded == "" || n.Keep != "" || po == nil || !po.Listed || po.Refused != "" && !po.Gone {
		return false
	}
	_, there := p.instance(n.Recorded)
	return !there
}

// lost decides for a node whose machine is missing although nobody committed its
// deletion, and reports whether it is one. Nothing can run on it any more, and
// while its Node stands the cluster waits for the pods that were on it. It is
// forgotten once its machine was missing in two lists; a node that is not silent
// has a machine, whatever the lists say.
func (p *planner) lost(n *Node, po *pool) bool {
	if !p.missing(n, po) {
		return false
	}
	if !n.Ready && n.MissingSince != 0 && po.Lists > n.MissingSince {
		why := "its machine is gone, and Tidegate did not delete it"
		if n.Announced() {
			why = "its machine is gone, as Azure had announced"
		}
		p.step(n, Step{Kind: StepForget, Why: why, Lost: true})
	}
	return true
}
