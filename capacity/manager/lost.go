package manager

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// followMachines notes which nodes' machines are missing from the cloud's
// lists, and says of each machine that goes without Tidegate that it does.
func (m *Manager) followMachines(o *observation) {
	pools := map[string]*capacity.PoolState{}
	for i := range o.snapshot.Pools {
		pools[strings.ToLower(o.snapshot.Pools[i].Name)] = &o.snapshot.Pools[i]
	}
	var listed map[string]bool // made for the first node that needs it
	taken := map[string][]string{}
	leaving, announced := map[string]bool{}, map[string][]string{}
	for _, n := range o.snapshot.Nodes {
		going := n.Instance.State == capacity.InstanceDeleting
		if n.Instance.VMID != "" && !going && n.MissingSince == 0 && len(n.Interruptions) == 0 {
			continue // as nearly all
		}
		po := pools[strings.ToLower(n.Pool)]
		if po == nil || n.Recorded == "" || n.Deleting != "" {
			continue
		}
		if len(n.Interruptions) > 0 {
			leaving[po.Name] = true
		}
		if n.Announced() {
			announced[po.Name] = append(announced[po.Name], n.Recorded)
		}
		missingFrom := 0
		if n.Instance.VMID == "" {
			if listed == nil {
				listed = vmidsOf(o.snapshot.Pools)
			}
			if !listed[n.Recorded] {
				missingFrom, going = po.Lists, true
				if n.MissingSince == 0 || n.MissingSince == po.Lists {
					leaving[po.Name] = true // it takes a second list
				}
			}
		}
		m.progress.missing(n.UID, missingFrom)
		if going && m.tellTaken(o, n, po) {
			taken[po.Name] = append(taken[po.Name], n.Name)
		}
	}
	m.pools.expectLosses(leaving, announced)
	for _, pool := range slices.Sorted(maps.Keys(taken)) {
		m.log.Error(nil, "machines go and Tidegate did not ask for it: look for an autoscale rule on the scale set, another autoscaler or a person",
			"pool", pool, "nodes", taken[pool])
	}
}

// forgetGone forgets the pools that do not exist any more and have no nodes left.
func (m *Manager) forgetGone(o *observation) {
	o.snapshot.Pools = slices.DeleteFunc(o.snapshot.Pools, func(po capacity.PoolState) bool {
		left := !po.Gone || slices.ContainsFunc(o.snapshot.Nodes, func(n *capacity.Node) bool { return strings.EqualFold(n.Pool, po.Name) })
		if !left {
			m.pools.forget(po.Name)
		}
		return !left
	})
}

// tellTaken tells once that the node's machine goes without Tidegate, and
// reports whether that is for somebody to look into.
func (m *Manager) tellTaken(o *observation, n *capacity.Node, po *capacity.PoolState) bool {
	object := o.node(n.Name)
	if object == nil || !m.progress.taken(n.UID) {
		return false
	}
	switch {
	case m.givenUp.has(n.Recorded):
		m.log.Info("machine goes as it was given up before it joined", "pool", n.Pool, "node", n.Name)
		return false
	case n.Announced():
		m.log.Info("machine goes as Azure announced", "pool", n.Pool, "node", n.Name)
		return false
	case po.Spot:
		m.log.Info("Spot machine goes", "pool", n.Pool, "node", n.Name)
		m.say(object, corev1.EventTypeNormal, "MachineTaken", "Lose", "Azure takes its machine, which is a Spot one, and has not announced it")
		return false
	}
	m.say(object, corev1.EventTypeWarning, "MachineTaken", "Lose",
		"its machine goes and Tidegate did not ask for it; is an autoscale rule, another autoscaler or a person at work on scale set %s?", n.Pool)
	return true
}

func vmidsOf(pools []capacity.PoolState) map[string]bool {
	vmids := map[string]bool{}
	for i := range pools {
		for j := range pools[i].Instances {
			vmids[pools[i].Instances[j].VMID] = true
		}
	}
	return vmids
}
