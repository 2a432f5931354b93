package capacity

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Protection changes whether Azure may choose a machine when it scales in by
// itself. It keeps nobody from deleting the machine by its ID.
type Protection struct {
	Pool     string
	UID      types.UID // of the node
	Instance Instance
	Protect  bool
}

// unprotectAfter is how long a machine stays protected after its last work: where
// pods come one by one each change would be taken back with the next pod.
const unprotectAfter = time.Minute

// protect protects machines with work, and them alone, in the pools that are
// tagged for it: one change at a time, those that protect first.
func (p *planner) protect() {
	if !slices.ContainsFunc(p.pools, func(po *pool) bool { return po.Settings.ProtectBusy }) {
		return
	}
	chosen := map[*pool]*Protection{}
	for i := range p.nodes {
		b := &p.nodes[i]
		n, po := b.node, b.pool
		if po == nil || !po.Settings.ProtectBusy || po.Refused != "" || !n.mapped() || n.Instance.State != InstanceRunning || n.Deleting != "" {
			continue
		}
		busy := n.load().Work > 0
		if busy == n.Instance.Protected || !busy && p.before(n.Freed.Add(unprotectAfter)) || p.before(n.HoldUntil) {
			continue // of one that Azure refuses to change the others do not wait
		}
		if known := chosen[po]; known == nil || busy && !known.Protect {
			chosen[po] = &Protection{Pool: po.Name, UID: n.UID, Instance: n.Instance, Protect: busy}
		}
	}
	for _, po := range p.pools {
		if c := chosen[po]; c != nil {
			p.decision.Protections = append(p.decision.Protections, *c)
		}
	}
}
