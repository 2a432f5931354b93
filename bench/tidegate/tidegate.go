// Package tidegate makes snapshots for Tidegate's planner out of pods and of
// machines that are for sale.
package tidegate

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	karpenterv1 "sigs.k8s.io/karpenter/pkg/apis/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/bench/mix"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// Now is the time of every snapshot.
var Now = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// Pools makes a pool of each offer, which may buy as many machines as asked.
func Pools(offers []mix.Offer, most int) []capacity.PoolState {
	pools := make([]capacity.PoolState, 0, len(offers))
	for _, o := range offers {
		pools = append(pools, capacity.PoolState{
			Pool: capacity.Pool{
				Name:     strings.Join([]string{o.InstanceType, o.Zone, o.CapacityType}, "-"),
				Settings: api.PoolSettings{Max: most, PricePerHour: o.Price},
				VMSize:   o.InstanceType,
				Zones:    []string{o.Zone},
				Spot:     o.CapacityType == karpenterv1.CapacityTypeSpot,
			},
			Listed:   true,
			Shape:    &fit.Shape{Labels: o.Labels, Allocatable: fit.ResourcesOf(o.Allocatable)},
			BootTime: time.Minute,
		})
	}
	return pools
}

// Snapshot is a cluster without nodes in which the pods wait at the gate.
func Snapshot(pods []*corev1.Pod, pools []capacity.PoolState) capacity.Snapshot {
	return capacity.Snapshot{Now: Now, Pools: pools, Waiting: Waiting(fit.NewCompiler(), pods)}
}

// Waiting converts pods that wait at the gate.
func Waiting(compiler *fit.Compiler, pods []*corev1.Pod) []*capacity.Pod {
	waiting := make([]*capacity.Pod, 0, len(pods))
	for _, p := range pods {
		waiting = append(waiting, &capacity.Pod{
			Key:     types.NamespacedName{Namespace: p.Namespace, Name: p.Name},
			UID:     p.UID,
			Class:   compiler.Class(p, ""),
			Gated:   true,
			Created: Now.Add(-time.Minute),
		})
	}
	return waiting
}

// Machines is how many the decision buys.
func Machines(d capacity.Decision) int {
	n := 0
	for _, g := range d.Grows {
		n += g.To - g.From
	}
	return n
}
