// Package replay runs the pods of a trace through the planner in virtual time and
// holds the machine-hours that it pays for against the least that anybody could.
package replay

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
	"github.com/tidegate-k3s/tidegate/internal/trace"
)

// Pool is one kind of machine.
type Pool struct {
	Name string
	// Offers is what a machine has for pods.
	Offers corev1.ResourceList
}

// Boot is how long a machine takes from its purchase until it is ready, and so
// for how long an empty one is kept.
const Boot = 90 * time.Second

// Bill is what came of a replay for one pool.
type Bill struct {
	Pool string
	// Machines is how many were bought.
	Machines int
	// Paid is for how long machines were there in all, from the purchase to the end
	// of the deletion, and Least the least for which they could have been.
	Paid, Least time.Duration
	// Waits are how long the pods that ran there had waited, in ascending order.
	Waits []time.Duration
}

// Run replays the pods, each on the first of the pools whose machines hold it. With
// hints the planner knows how long each pod will run. The number of pods that no
// machine holds is returned; they are left out.
func Run(pods []trace.Pod, pools []Pool, hints bool) (bills []Bill, left int, err error) {
	w := newWorld(hints)
	assigned := make([][]trace.Pod, len(pools))
	for _, p := range pools {
		w.pools = append(w.pools, state(p))
	}
	compiler := fit.NewCompiler()
	for number, p := range pods {
		at := slices.IndexFunc(pools, func(pool Pool) bool {
			return fit.ResourcesOf(pool.Offers).Holds(fit.ResourcesOf(p.Requests))
		})
		if at < 0 {
			left++
			continue
		}
		assigned[at] = append(assigned[at], p)
		w.submit(waiting(compiler, number, p, pools[at].Name), time.Duration(p.Deleted-p.Scheduled)*time.Second)
	}
	if err := w.run(); err != nil {
		return nil, 0, err
	}
	for i, p := range pools {
		b := w.bill(p.Name)
		slices.Sort(b.Waits)
		b.Least = least(assigned[i], p.Offers)
		bills = append(bills, *b)
	}
	return bills, left, nil
}

// state is the pool before anything was bought.
func state(p Pool) capacity.PoolState {
	return capacity.PoolState{
		Pool:     capacity.Pool{Name: p.Name, Settings: api.PoolSettings{Max: math.MaxInt32}},
		Listed:   true,
		Shape:    &fit.Shape{Allocatable: fit.ResourcesOf(p.Offers)},
		BootTime: Boot,
	}
}

// waiting is a pod of the trace at the gate.
func waiting(compiler *fit.Compiler, number int, p trace.Pod, pool string) *capacity.Pod {
	key := types.NamespacedName{Namespace: "trace", Name: p.Name}
	class := compiler.Class(&corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: p.Requests}}},
	}}, pool)
	return &capacity.Pod{
		Key: key, UID: types.UID(fmt.Sprint(number)), Class: class, Gated: true, Owned: true,
		Created: time.Unix(p.Created, 0).UTC(),
	}
}

// least is a lower bound of the time for which machines are needed: at each moment
// at least as many as hold the sum of what runs, if each pod ran as it came, could
// be moved about at will, and machines were there just while they are needed.
func least(pods []trace.Pod, offers corev1.ResourceList) time.Duration {
	type change struct {
		at   int64
		by   corev1.ResourceList
		sign int64
	}
	var changes []change
	for _, p := range pods {
		changes = append(changes, change{p.Created, p.Requests, 1}, change{p.Created + p.Deleted - p.Scheduled, p.Requests, -1})
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	var total, since int64
	running := map[corev1.ResourceName]int64{}
	for _, c := range changes {
		machines := int64(0)
		for name, sum := range running {
			offered := offers.Name(name, resource.DecimalSI).MilliValue()
			machines = max(machines, (sum+offered-1)/max(1, offered))
		}
		total += machines * (c.at - since)
		since = c.at
		for name, q := range c.by {
			running[name] += c.sign * q.MilliValue()
		}
	}
	return time.Duration(total) * time.Second
}
