package scenario

import (
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/bench/mix"
	"github.com/tidegate-k3s/tidegate/bench/tidegate"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// onMarket is a demand for which machines of the Market can be bought.
func onMarket(pods []*corev1.Pod) capacity.Snapshot {
	return tidegate.Snapshot(pods, tidegate.Pools(Market(), len(pods)))
}

// BenchmarkNewMachines plans demands for which nothing runs yet.
func BenchmarkNewMachines(b *testing.B) {
	gangs := onMarket(Sized(10_000))
	Gangs(gangs.Waiting, 10)
	for _, bench := range []struct {
		name string
		in   capacity.Snapshot
	}{
		{"51k pods of the estimator benchmark", EstimatorMix()},
		{"51k pods of three kinds", ThreeKinds()},
		{"50k pods onto 1000 machines", Alike(50_000)},
		{"10k pods each its own class", onMarket(OwnClasses(10_000))},
		{"10k pods in 1000 gangs", gangs},
		{"10k pods with anti-affinity among all", onMarket(mix.Apart(10_000))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			d := measure(b, func(int) capacity.Snapshot { return bench.in })
			b.ReportMetric(float64(tidegate.Machines(d)), "machines")
		})
	}
}

// BenchmarkCluster plans for 5,000 nodes, 50,000 running and 10,000 waiting
// pods.
func BenchmarkCluster(b *testing.B) {
	const nodes, waiting = 5_000, 10_000
	for _, bench := range []struct {
		name     string
		waiting  []*corev1.Pod
		headroom int
		coming   bool
	}{
		{"machines are coming", Sized(waiting), 1_000, true},
		{"pools are at their maximum", Sized(waiting), 0, false},
		{"machines are coming for the mix", mix.Pods(waiting), 1_000, true},
		{"pools are at their maximum for pods each its own class", OwnClasses(waiting), 0, false},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c := NewCluster(nodes, bench.waiting, bench.headroom, bench.coming)
			s := c.Snapshot()
			b.Run("a running pod finished", func(b *testing.B) {
				measure(b, func(i int) capacity.Snapshot { return Finish(s, i*997%nodes) })
			})
			b.Run("a waiting pod left", func(b *testing.B) {
				measure(b, func(i int) capacity.Snapshot { return Depart(s, i*997%waiting) })
			})
			b.Run("from cold", func(b *testing.B) {
				measure(b, func(int) capacity.Snapshot { return c.Snapshot() })
			})
		})
	}
}

// BenchmarkNoWayOut plans for 5,000 nodes that are full and 10,000 pods, each its
// own class, for which waiting will not help.
func BenchmarkNoWayOut(b *testing.B) {
	for _, bench := range []struct {
		name     string
		milliCPU int64
		selects  func(pod string) map[string]string
	}{
		{"pods larger than any machine", 17_000, nil},
		{"pods that select a node that there is not", 1_000, func(string) map[string]string { return map[string]string{"kind": "none"} }},
		{"pods that each select a node of their own", 1_000, func(pod string) map[string]string { return map[string]string{"kind": pod} }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			waiting := Sized(10_000)
			for i, p := range waiting {
				p.Spec.Containers[0].Resources.Requests = resources(bench.milliCPU+int64(i), 1<<30, 0)
				if bench.selects != nil {
					p.Spec.NodeSelector = bench.selects(p.Name)
				}
			}
			s := NewCluster(5_000, waiting, 0, false).Snapshot()
			b.ResetTimer()
			measure(b, func(int) capacity.Snapshot { return s })
		})
	}
}

// measure times the making of a snapshot together with its plan, the last of
// which it returns. On a machine with other work the fastest run says most.
func measure(b *testing.B, observe func(run int) capacity.Snapshot) capacity.Decision {
	b.ReportAllocs()
	var d capacity.Decision
	fastest := time.Duration(math.MaxInt64)
	var memory capacity.Memory
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		d = memory.Plan(observe(i))
		fastest = min(fastest, time.Since(began))
	}
	b.ReportMetric(fastest.Seconds()*1000, "min-ms/op")
	return d
}
