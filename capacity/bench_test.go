package capacity

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// BenchmarkPlan reports how long one plan takes for clusters at the limit.
func BenchmarkPlan(b *testing.B) {
	for name, s := range map[string]Snapshot{
		"10,000 gated pods onto new machines":                newMachines(10_000),
		"5,000 nodes, 50,000 running, 10,000 waiting":        largeCluster(5_000, 10, 10_000, 1_000),
		"5,000 nodes, 50,000 running, 10,000 at the maximum": largeCluster(5_000, 10, 10_000, 0),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Plan(s)
			}
		})
	}
}

// sized is a pod of one of 50 classes, some with a selector.
func sized(i int, name string, changes ...func(*Pod)) Pod {
	r := fit.Resources{MilliCPU: int64(250 + i%10*250), Memory: int64(1+i%5) << 28, Pods: 1}
	var selector map[string]string
	if i%3 == 0 {
		selector = map[string]string{api.PoolLabel: "agents"}
	}
	return pod(name, 0, append([]func(*Pod){class(classOf(r, "", selector)), aged(time.Duration(i) * time.Second)}, changes...)...)
}

func newMachines(count int) Snapshot {
	s := snapshot(pools(poolOf("agents", 0, bounds(0, count), offering(machineOf(16))), poolOf("big", 0, bounds(0, count), offering(machineOf(64)))), nil)
	s.Daemons = []*fit.Class{classOf(cpus(0.1), "", nil), classOf(cpus(0.2), "", nil)}
	var all []Pod
	for i := range count {
		all = append(all, sized(i, fmt.Sprintf("p%05d", i)))
	}
	s.SetPods(pointers(all))
	return s
}

func largeCluster(nodes, perNode, waiting, headroom int) Snapshot {
	po := poolOf("agents", nodes, bounds(0, nodes+headroom), offering(machineOf(16)))
	s := snapshot(nil, nil)
	s.Daemons = []*fit.Class{classOf(cpus(0.1), "", nil), classOf(cpus(0.2), "", nil)}
	var all []Pod
	for i := range nodes {
		n := node(fmt.Sprintf("n%04d", i))
		n.Allocatable = machineOf(16)
		s.Nodes = append(s.Nodes, &n)
		po.Instances = append(po.Instances, n.Instance)
		for j := range perNode {
			all = append(all, pod(fmt.Sprintf("r%04d-%d", i, j), 1.5, on(n.Name), endsIn(time.Duration(i+j)*time.Minute)))
		}
	}
	for i := range waiting {
		all = append(all, sized(i, fmt.Sprintf("p%05d", i)))
	}
	s.Pools = pools(po)
	s.SetPods(pointers(all))
	return s
}
