package manager

import (
	corev1 "k8s.io/api/core/v1"
)

// followOthers tells once of each thing that others do against Tidegate: a
// capacity that they lower, a deletion that they contradict after it was
// committed.
func (m *Manager) followOthers(o *observation) {
	for i := range o.snapshot.Pools {
		p := &o.snapshot.Pools[i]
		if p.Lowered == nil || m.lowered[p.Name].Equal(p.Lowered.At) {
			continue
		}
		m.lowered[p.Name] = p.Lowered.At
		m.metrics.lowered.WithLabelValues(p.Name).Inc()
		m.log.Error(nil, "the capacity was lowered, and not by Tidegate: look for an autoscale rule on the scale set, another autoscaler or a person",
			"pool", p.Name, "from", p.Lowered.From, "to", p.Lowered.To)
		m.say(statusObject(), corev1.EventTypeWarning, "CapacityLowered", "Lose", "scale set %s: %s", p.Name, p.Lowered)
	}
	m.followUnlisted(o)
	var listed map[string]bool // made for the first node that needs it
	for _, n := range o.snapshot.Nodes {
		if n.Deleting == "" {
			continue
		}
		why := n.Contradiction()
		if why == "" && n.Instance.VMID == "" {
			if listed == nil {
				listed = vmidsOf(o.snapshot.Pools)
			}
			if listed[n.Deleting] {
				why = "it is not certain which machine it is"
			}
		}
		if object := o.node(n.Name); object != nil && m.progress.contradicted(n.UID, why) {
			m.log.Error(nil, "a committed deletion is held up", "node", n.Name, "pool", n.Pool, "why", why)
			m.say(object, corev1.EventTypeWarning, "DeletionHeld", "Delete", "its deletion is committed and does not go on: %s", why)
		}
	}
}

// followUnlisted tells once of each pool whose capacity counts machines that do not
// come.
func (m *Manager) followUnlisted(o *observation) {
	unlisted := map[string]bool{}
	for i := range o.snapshot.Pools {
		p := &o.snapshot.Pools[i]
		if p.Unlisted == 0 || p.Refused != "" {
			continue
		}
		unlisted[p.Name] = true
		if !m.unlisted[p.Name] {
			m.log.Error(nil, "the capacity counts machines that do not come; not counting on them any more", "pool", p.Name, "machines", p.Unlisted, "capacity", p.Capacity)
			m.say(statusObject(), corev1.EventTypeWarning, "MachinesNotListed", "Repair", "scale set %s: %s", p.Name, p.UnlistedText())
		}
	}
	m.unlisted = unlisted
}
