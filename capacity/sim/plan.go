package sim

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity/manager"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

const (
	// arrivals is the time in which work arrives.
	arrivals = 25 * time.Minute
	// trouble is the time in which things may go wrong.
	trouble = 40 * time.Minute
	// longestRun is the longest run time of a pod.
	longestRun = 15 * time.Minute
)

// plan is what a seed decides before anything happens.
type plan struct {
	servers []string
	azure   emulator.Config
	pools   []pool
	work    []work
}

// pool is one scale set.
type pool struct {
	name             string
	size             string
	cpu              int // of a machine, in cores
	min, max, beside int // beside Tidegate's own purchases: those that run at the start
	// idle is how long an empty machine is kept; negative for no tag.
	idle time.Duration
	boot emulator.Range
	// reuse is true if new machines get the IDs and names of those that are gone.
	reuse bool
	// starting is true if its agents join with the startup taint: then machines
	// that do not join may be given up.
	starting bool
	// deallocates is true if machines are retired by deallocating them.
	deallocates bool
}

// sizes are VM sizes by their cores.
var sizes = map[int]string{2: "Standard_D2s_v5", 4: "Standard_D4s_v5", 8: "Standard_D8s_v5"}

// calm are the delays of a network and of API servers that work.
var calm = cluster.Delays{
	Watch:     cluster.Delay{Usual: 20 * time.Millisecond},
	Scheduler: cluster.Delay{Usual: 20 * time.Millisecond},
	Policy:    cluster.Delay{Usual: 20 * time.Millisecond},
	Request:   cluster.Delay{Usual: 10 * time.Millisecond},
	Write:     cluster.Delay{Usual: 10 * time.Millisecond},
	Join:      cluster.Delay{Usual: 10 * time.Second},
}

// newPlan draws a plan.
func newPlan(r *rand.Rand) plan {
	p := plan{servers: []string{"10.0.0.1", "10.0.0.2"}[:1+r.IntN(2)]}
	for i := range 1 + r.IntN(3) {
		cpu := []int{2, 4, 8}[r.IntN(3)]
		low := seconds(r, 30, 90)
		p.pools = append(p.pools, pool{
			name: fmt.Sprintf("pool%d", i), size: sizes[cpu], cpu: cpu,
			min: max(0, r.IntN(4)-2), max: 1 + r.IntN(5), beside: max(0, r.IntN(4)-1),
			idle:  []time.Duration{-1, 0, 30 * time.Second, 2 * time.Minute, 5 * time.Minute}[r.IntN(5)],
			boot:  emulator.Between(low, low+seconds(r, 1, 90)),
			reuse: r.IntN(2) == 0, starting: r.IntN(3) == 0, deallocates: r.IntN(4) == 0,
		})
	}
	for i := range p.pools {
		o := &p.pools[i]
		o.min, o.beside = min(o.min, o.max), min(o.beside, o.max)
		p.azure.ScaleSets = append(p.azure.ScaleSets, o.scaleSet())
	}
	p.work = newWork(r, p.pools)
	return p
}

func seconds(r *rand.Rand, from, to int) time.Duration {
	return time.Duration(from)*time.Second + time.Duration(r.Int64N(int64(to-from)*int64(time.Second)))
}

func (p *pool) scaleSet() emulator.ScaleSet {
	// What a node of the pool will offer, as an administrator would say it.
	const template = "k8s.io_cluster-autoscaler_node-template_resources_"
	offers := p.offers()
	tags := map[string]string{
		api.EnabledTag: "enabled", api.MinTag: strconv.Itoa(p.min), api.MaxTag: strconv.Itoa(p.max),
		template + "cpu":    offers.Cpu().String(),
		template + "memory": offers.Memory().String(),
	}
	if p.idle >= 0 {
		tags[api.IdleAfterTag] = p.idle.String()
	}
	if p.deallocates {
		tags[api.RetireTag] = api.RetireDeallocate
	}
	var node emulator.NodeTemplate
	if p.starting {
		node.Taints = []corev1.Taint{{Key: api.StartupTaint, Effect: corev1.TaintEffectNoSchedule}}
	}
	return emulator.ScaleSet{Node: node, Name: p.name, Size: p.size, Capacity: p.beside, Tags: tags, BootTime: p.boot, ReuseIDs: p.reuse}
}

// longestIdle is the longest idle time of a pool, if what could be measured of
// boots is no longer than that.
func (p *plan) longestIdle(slowestBoot time.Duration) time.Duration {
	longest := manager.DefaultSettle
	for _, o := range p.pools {
		longest = max(longest, o.idle)
		if o.idle < 0 {
			longest = max(longest, slowestBoot)
		}
	}
	return longest
}

// offers is a little less than a node of the pool offers.
func (p *pool) offers() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(int64(p.cpu)*970, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(int64(p.cpu)*(3<<30), resource.BinarySI),
	}
}
