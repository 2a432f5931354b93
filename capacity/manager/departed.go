package manager

import (
	"maps"
	"slices"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// departureKept is how long it is remembered which machines have gone: the request
// with which one becomes a node may arrive after it, and not later than that.
const departureKept = time.Hour

// departure is a machine that was in a list of its pool and is in none any more.
type departure struct {
	pool string
	at   time.Time
}

// noteDepartures remembers the pool's machines that a new list lacks. The caller holds
// p.mu.
func (p *pools) noteDepartures(s *poolState, listed []capacity.Instance) {
	now := p.now()
	maps.DeleteFunc(p.departed, func(_ string, d departure) bool { return now.Sub(d.at) > departureKept })
	there := make(map[string]bool, len(listed))
	for _, i := range listed {
		there[i.VMID] = true
	}
	for _, i := range s.Instances {
		if i.VMID != "" && !there[i.VMID] {
			p.departed[i.VMID] = departure{pool: s.Name, at: now}
		}
	}
}

// departedFrom returns the VMID and the pool of the departed machine that has one of
// these VMIDs.
func (p *pools) departedFrom(vmids []string) (vmid, pool string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(vmids, func(vmid string) bool { _, gone := p.departed[vmid]; return gone })
	if i < 0 {
		return "", ""
	}
	return vmids[i], p.departed[vmids[i]].pool
}

// recognise shows nodes that came into being after their machines had gone, and are
// recorded as nothing, as what they are: else nobody would remove them. Whoever had the
// machines deleted, it was told of before.
func (m *Manager) recognise(o *observation) {
	for i, n := range o.snapshot.Nodes {
		if n.Ready || n.Instance.VMID != "" || n.Recorded != "" {
			continue
		}
		object := o.node(n.Name)
		if object == nil {
			continue
		}
		if vmid, pool := m.pools.departedFrom(capacity.VMIDs(object.Status.NodeInfo.SystemUUID)); vmid != "" {
			late := *n // snapshots share the old one
			late.Recorded, late.Pool = vmid, pool
			o.snapshot.Nodes[i] = &late
			m.progress.taken(n.UID)
		}
	}
}
