package capacity

import (
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// zonesOf returns what a new machine of the pool looks like in each of its
// zones. Where the pool's nodes carry no zone label the scheduler knows of no
// zones, and neither does the plan.
func zonesOf(po *PoolState) []zone {
	if _, labelled := po.Shape.Labels[corev1.LabelTopologyZone]; !labelled || len(po.Zones) < 2 {
		return []zone{{shape: po.Shape, name: zoneOf(po.Shape)}}
	}
	var zones []zone
	for _, name := range po.Zones {
		shape := *po.Shape
		shape.Labels = maps.Clone(shape.Labels)
		shape.Labels[corev1.LabelTopologyZone] = name
		zones = append(zones, zone{shape: &shape, name: name})
	}
	return zones
}

// zoneOf is the zone that the scheduler sees machines of the shape in, "" for none.
func zoneOf(shape *fit.Shape) string { return shape.Labels[corev1.LabelTopologyZone] }

// zoneOf returns the zone of that name, the first if there is none.
func (po *pool) zoneOf(name string) *zone {
	for i := range po.zones {
		if po.zones[i].name == name {
			return &po.zones[i]
		}
	}
	return &po.zones[0]
}

// nextZone is where the pool's next machine will be: Azure balances a set's
// machines over its zones. Source: Azure documentation, "Create a scale set
// that uses Availability Zones", zone balancing.
func (po *pool) nextZone() *zone {
	next := &po.zones[0]
	for i := range po.zones {
		if po.zones[i].machines < next.machines {
			next = &po.zones[i]
		}
	}
	return next
}

// lastIn reports whether the last machine that is to be bought in the pool would
// be in that zone. Only such a machine can be given up: without any other, those
// bought after it would come in other zones than planned.
func (po *pool) lastIn(z *zone) bool {
	var last *zone
	for i := range po.zones {
		if next := &po.zones[i]; next.opened > 0 && (last == nil || next.machines >= last.machines) {
			last = next
		}
	}
	return last == z
}
