// Package throughput measures what Tidegate costs the cluster that it runs on:
// how much slower the scheduler is with the extender, and the API server with the
// webhook, and how much memory the servers' process takes in a large cluster.
package throughput

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/e2e/cluster"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// Options say how to measure.
type Options struct {
	// Rounds is how often each rate is measured, with and without.
	Rounds int
	// Out gets a line for each round, and last a line of JSON.
	Out io.Writer
}

// Figures are what came of it. The ratios are medians of the rounds: a rate with
// Tidegate over the rate without it that was measured next to it.
type Figures struct {
	// Extender is for pods per second that the scheduler binds, by the number of
	// nodes, and Unlimited the same for one that sends requests as fast as it can.
	Extender  map[int]float64 `json:"scheduling_with_extender_to_without_by_nodes"`
	Unlimited map[int]float64 `json:"unlimited_scheduling_with_extender_to_without_by_nodes"`
	// Webhook is for pods per second that the API server creates, none of which
	// opts in.
	Webhook float64 `json:"creation_with_webhook_to_without"`
	// MemoryMiB is what the process of the servers has resident, at the most, with
	// as many nodes and pods.
	MemoryMiB float64 `json:"memory_mib"`
	Nodes     int     `json:"nodes"`
	Pods      int     `json:"pods"`
}

// The clusters that are measured.
const (
	smallCluster = 1000
	largeCluster = 5000
	// In the large one so many pods run and wait when its memory is measured.
	running, waiting = 40000, 10000
	// batch is how many pods a rate is measured with.
	batch = 1000
)

type bench struct {
	Options
	rig      *rig.Rig
	tidegate *rig.Process
}

// Run measures, which takes half an hour.
func Run(ctx context.Context, o Options) error {
	// No kubelet reports: the nodes stay as they were created.
	r, err := rig.Start(ctx, rig.Options{NodeGracePeriod: 24 * time.Hour, Out: o.Out})
	if err != nil {
		return err
	}
	defer r.Stop()
	policies := r.Client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	if err := policies.Delete(ctx, cluster.DeadMachines, metav1.DeleteOptions{}); err != nil {
		return err
	}
	b := &bench{Options: o, rig: r}
	if b.tidegate, err = r.StartTidegate(rig.ProcessOptions{}); err != nil {
		return err
	}
	if err := b.tidegate.AwaitReady(ctx); err != nil {
		return err
	}
	figures := Figures{Extender: map[int]float64{}, Unlimited: map[int]float64{}, Nodes: largeCluster, Pods: running + waiting}
	nodes := 0
	for _, n := range []int{smallCluster, largeCluster} {
		if err := b.addNodes(ctx, nodes, n); err != nil {
			return err
		}
		nodes = n
		figures.Extender[n], err = b.compare(ctx, fmt.Sprintf("pods bound per second, %d nodes, extender", n), b.scheduleLimited)
		if err != nil {
			return err
		}
		figures.Unlimited[n], err = b.compare(ctx, fmt.Sprintf("pods bound per second without a limit, %d nodes, extender", n), b.scheduleUnlimited)
		if err != nil {
			return err
		}
	}
	figures.Webhook, err = b.compare(ctx, "pods created per second, webhook", b.create)
	if err != nil {
		return err
	}
	if figures.MemoryMiB, err = b.memory(ctx); err != nil {
		return err
	}
	line, err := json.Marshal(figures)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%s\n", line)
	return nil
}

// compare measures a rate with and without, side by side in each round and in
// turns, so that a machine that gets slower favours neither.
func (b *bench) compare(ctx context.Context, what string, rate func(ctx context.Context, with bool) (float64, error)) (float64, error) {
	var ratios []float64
	for round := range b.Rounds {
		var rates [2]float64
		for i := range rates {
			side := (i + round) % 2
			var err error
			if rates[side], err = rate(ctx, side == 1); err != nil {
				return 0, fmt.Errorf("%s: %w", what, err)
			}
		}
		ratio := rates[1] / rates[0]
		fmt.Fprintf(b.Out, "%s: %.0f without, %.0f with, ratio %.3f\n", what, rates[0], rates[1], ratio)
		ratios = append(ratios, ratio)
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2], nil
}
