package scenario

import (
	"testing"

	"github.com/tidegate-k3s/tidegate/bench/mix"
	"github.com/tidegate-k3s/tidegate/bench/tidegate"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// BenchmarkNewMachines plans demands for which nothing runs yet.
func BenchmarkNewMachines(b *testing.B) {
	gangs := tidegate.Snapshot(Sized(10_000), tidegate.Pools(Market(), 10_000))
	Gangs(gangs.Waiting, 10)
	for _, bench := range []struct {
		name string
		in   capacity.Snapshot
	}{
		{"51,000 pods of Cluster Autoscaler's estimator benchmark", EstimatorMix()},
		{"51,000 pods of three kinds", ThreeKinds()},
		{"50,000 pods onto 1,000 machines", Alike(50_000)},
		{"10,000 pods, each its own class", tidegate.Snapshot(OwnClasses(10_000), tidegate.Pools(Market(), 10_000))},
		{"10,000 pods in 1,000 gangs", gangs},
		{"10,000 pods, anti-affinity among all", tidegate.Snapshot(mix.Apart(10_000), tidegate.Pools(Market(), 10_000))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var d capacity.Decision
			for b.Loop() {
				d = capacity.Plan(bench.in)
			}
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
		headroom int
		coming   bool
	}{
		{"machines for all are on their way", 1_000, true},
		{"the pools are at their maximum", 0, false},
	} {
		c := NewCluster(nodes, waiting, bench.headroom, bench.coming)
		s := c.Snapshot()
		b.Run("a pod finished, "+bench.name, func(b *testing.B) {
			b.ReportAllocs()
			capacity.Plan(s)
			for i := 0; b.Loop(); i++ {
				capacity.Plan(Finish(s, i*997%nodes))
			}
		})
		b.Run("a waiting pod left, "+bench.name, func(b *testing.B) {
			b.ReportAllocs()
			capacity.Plan(s)
			for i := 0; b.Loop(); i++ {
				capacity.Plan(Depart(s, i*997%waiting))
			}
		})
		b.Run("from cold, "+bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				capacity.Plan(c.Snapshot())
			}
		})
	}
	full := NewCluster(nodes, 0, 0, false)
	full.waiting = OwnClasses(waiting)
	s := full.Snapshot()
	b.Run("each waiting pod its own class, nothing can be bought", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			capacity.Plan(s)
		}
	})
}
