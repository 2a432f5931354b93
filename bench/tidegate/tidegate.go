// Package tidegate makes snapshots for Tidegate's planner out of pods and of
// machines that are for sale.
package tidegate

import (
	"fmt"
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
				Name:     poolOf(o),
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

func poolOf(o mix.Offer) string {
	return strings.Join([]string{o.InstanceType, o.Zone, o.CapacityType}, "-")
}

// Snapshot is a cluster without nodes in which the pods wait at the gate.
func Snapshot(pods []*corev1.Pod, pools []capacity.PoolState) capacity.Snapshot {
	s := capacity.Snapshot{Now: Now, Pools: pools}
	Settle(fit.NewCompiler(), func(compiler *fit.Compiler) { s.Waiting = Waiting(compiler, pods) })
	return s
}

// Settle compiles pods again until the compiler has learned nothing new from
// them: which labels tell pods apart depends on all their selectors.
func Settle(compiler *fit.Compiler, compile func(*fit.Compiler)) {
	for known := -1; compiler.Generation() != known; {
		known = compiler.Generation()
		compile(compiler)
	}
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

// Bought is what a decision buys for the pods.
type Bought struct {
	// Machines are the machines, and Machine the number of the one of each pod
	// by UID; a pod without a place is missing.
	Machines []mix.Offer
	Machine  map[types.UID]int
}

// Purchase returns what the decision, with these placements, buys where nothing
// runs yet.
func Purchase(d capacity.Decision, placements []capacity.Placement, offers []mix.Offer) (Bought, error) {
	byPool := make(map[string]mix.Offer, len(offers))
	for _, o := range offers {
		byPool[poolOf(o)] = o
	}
	b := Bought{Machine: make(map[types.UID]int, len(placements))}
	for _, g := range d.Grows {
		for range g.To - g.From {
			b.Machines = append(b.Machines, byPool[g.Pool])
		}
	}
	// The plan numbers the machines; those of a pool are alike.
	next := map[string][]int{}
	for i, o := range b.Machines {
		next[poolOf(o)] = append(next[poolOf(o)], i)
	}
	numbers := map[int]int{}
	for _, p := range placements {
		at, known := numbers[p.Machine]
		if !known {
			free := next[p.Pool]
			if len(free) == 0 {
				return Bought{}, fmt.Errorf("pod %s has its place on a machine of %s that the plan does not buy", p.Pod, p.Pool)
			}
			at, next[p.Pool] = free[0], free[1:]
			numbers[p.Machine] = at
		}
		if poolOf(b.Machines[at]) != p.Pool {
			return Bought{}, fmt.Errorf("the plan has machine %d in two pools", p.Machine)
		}
		b.Machine[p.UID] = at
	}
	return b, nil
}

// Machines is how many the decision buys.
func Machines(d capacity.Decision) int {
	n := 0
	for _, g := range d.Grows {
		n += g.To - g.From
	}
	return n
}
