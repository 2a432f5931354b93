package capacity

import "k8s.io/apimachinery/pkg/types"

// Placement is the place that a waiting pod has in a plan.
type Placement struct {
	Pod types.NamespacedName
	UID types.UID
	// Node is the node, "" for a machine that is none yet.
	Node string
	// Pool is the machine's pool, and Machine its number in the plan, from 1 on,
	// among the machines that are no nodes yet; "" and 0 for a node.
	Pool    string
	Machine int
}

// Placements returns where the demand has its place in the plan for the snapshot,
// in the order in which it was placed.
func Placements(s Snapshot) []Placement {
	p := newPlanner(s, new(Memory))
	p.place()
	number := map[*bin]int{}
	for _, b := range p.bins {
		if b.node == nil && !b.dropped {
			number[b] = len(number) + 1
		}
	}
	var placements []Placement
	for _, r := range p.order {
		for _, u := range r.units {
			for _, m := range u.members {
				if m.pod == nil || m.bin == nil {
					continue
				}
				placement := Placement{Pod: m.pod.Key, UID: m.pod.UID, Node: m.bin.name()}
				if m.bin.node == nil {
					placement.Pool, placement.Machine = m.bin.pool.Name, number[m.bin]
				}
				placements = append(placements, placement)
			}
		}
	}
	return placements
}
