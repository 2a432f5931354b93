package capacity

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// zonesOf returns what a new machine of the pool looks like in each of its
// zones. Where the pool's nodes carry no zone label the scheduler knows of no
// zones, and neither does the plan.
func zonesOf(po *PoolState) []zone {
	if zoneOf(po.Shape) == "" || len(po.Zones) < 2 {
		return []zone{{shape: po.Shape, name: zoneOf(po.Shape)}}
	}
	var zones []zone
	for _, name := range po.Zones {
		zones = append(zones, zone{shape: po.Shape.InZone(name), name: name})
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

// starts reports whether a machine of the zone may yet be started.
func (z *zone) starts() bool { return z.starting < z.stopped }

// hasStopped reports whether a machine that is right for pods of the class may yet be
// started.
func (po *pool) hasStopped(class *fit.Class) bool {
	return slices.ContainsFunc(po.zones, func(z zone) bool { return z.starts() && z.shape.Admits(class, "") == "" })
}

// nextZone is where the pool's next machine will be: where one can be started,
// else where Azure puts one that is bought.
func (po *pool) nextZone() *zone {
	for i := range po.zones {
		if z := &po.zones[i]; z.starts() {
			return z
		}
	}
	return po.balancedZone()
}

// balancedZone is where the next machine that is bought will be: Azure balances a
// set's machines over its zones. Source: Azure documentation, "Create a scale set
// that uses Availability Zones", zone balancing.
func (po *pool) balancedZone() *zone {
	next := &po.zones[0]
	for i := range po.zones {
		if z := &po.zones[i]; z.machines+z.buying < next.machines+next.buying {
			next = z
		}
	}
	return next
}

// isLast reports whether a machine that is to be started or bought
// can be given up. Of those that are bought only the pool's last one can: without
// any other, those bought after it would come in other zones than planned.
func (b *bin) isLast() bool {
	if b.starts {
		return true
	}
	var last *zone
	for i := range b.pool.zones {
		if next := &b.pool.zones[i]; next.buying > 0 && (last == nil || next.machines+next.buying >= last.machines+last.buying) {
			last = next
		}
	}
	return last == b.zone
}
