// Command compare plans the pods of Karpenter's scheduling benchmark with
// Karpenter and with Tidegate, side by side, and checks both plans.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/bench/karpenter"
	"github.com/tidegate-k3s/tidegate/bench/mix"
	"github.com/tidegate-k3s/tidegate/bench/tidegate"
	"github.com/tidegate-k3s/tidegate/bench/verify"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// sizes are those of Karpenter's benchmark, from 100 pods on.
var sizes = []int{100, 500, 1_000, 2_000, 5_000, 10_000, 20_000}

// headline is the size that the last line is about.
const headline = 10_000

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run() error {
	var summary string
	var broken error // Tidegate's plans; Karpenter's are its own affair
	fmt.Printf("%6s %-9s %10s %10s %10s %8s %10s %9s %6s\n", "pods", "planner", "seconds", "pods/s", "prepared", "machines", "price/h", "misplaced", "ratio")
	for _, size := range sizes {
		pods := mix.Pods(size)
		theirs, err := runKarpenter(pods)
		if err != nil {
			return err
		}
		ours, err := runTidegate(pods)
		if err != nil {
			return err
		}
		ratio := theirs.took.Seconds() / ours.took.Seconds()
		theirs.print(size, "Karpenter", "")
		ours.print(size, "Tidegate", fmt.Sprintf("%.0f", ratio))
		if ours.misplaced > 0 {
			broken = errors.Join(broken, fmt.Errorf("the plan for %d pods breaks rules: %s", size, ours.why))
		}
		if size == headline {
			summary = fmt.Sprintf("ratio=%.0f machines=%d/%d", ratio, len(ours.machines), len(theirs.machines))
		}
	}
	fmt.Println(summary)
	return broken
}

// outcome is one planner's plan and what it took.
type outcome struct {
	// took is the median time of a plan, and prepared that of what comes before.
	took, prepared time.Duration
	machines       []mix.Offer
	// misplaced counts the pods whose place breaks a rule, and why names some.
	misplaced int
	why       string
}

func (o *outcome) print(pods int, planner, ratio string) {
	fmt.Printf("%6d %-9s %10.4f %10.0f %10.4f %8d %10.2f %9d %6s\n", pods, planner,
		o.took.Seconds(), float64(pods)/o.took.Seconds(), o.prepared.Seconds(), len(o.machines), mix.Price(o.machines), o.misplaced, ratio)
}

func runKarpenter(pods []*corev1.Pod) (*outcome, error) {
	catalogue := mix.InstanceTypes()
	var result karpenter.Result
	o, err := measure(func() (took, prepared time.Duration, err error) {
		result, err = karpenter.Run(pods, catalogue)
		return result.Solve, result.Prepare, err
	})
	if err != nil {
		return nil, err
	}
	return o, o.judge(result.Order, result.Machines, result.Machine)
}

func runTidegate(pods []*corev1.Pod) (*outcome, error) {
	offers := mix.Offers(mix.InstanceTypes())
	var snapshot capacity.Snapshot
	var decision capacity.Decision
	o, err := measure(func() (took, prepared time.Duration, err error) {
		began := time.Now()
		pools := tidegate.Pools(offers, len(pods))
		ready := time.Now()
		// Compiling the pods counts: Karpenter, too, reads each pod's requests
		// and rules within the time that its benchmark takes.
		snapshot = tidegate.Snapshot(pods, pools)
		decision = capacity.Plan(snapshot)
		return time.Since(ready), ready.Sub(began), nil
	})
	if err != nil {
		return nil, err
	}
	placements := capacity.Placements(snapshot)
	bought, err := tidegate.Purchase(decision, placements, offers)
	if err != nil {
		return nil, err
	}
	// The order in which the plan placed the pods is one in which their rules
	// hold; the verifier tries it first.
	turn := make(map[types.UID]int, len(pods))
	for i, p := range placements {
		turn[p.UID] = i
	}
	inTurn := slices.SortedStableFunc(slices.Values(pods), func(a, b *corev1.Pod) int { return cmp.Compare(turn[a.UID], turn[b.UID]) })
	return o, o.judge(inTurn, bought.Machines, bought.Machine)
}

// judge has the plan verified, in a cluster where one empty machine of each
// offer stands too: a plan does not spread over the zones by using one of those
// that are for sale, nor over hosts by having few.
func (o *outcome) judge(pods []*corev1.Pod, machines []mix.Offer, places map[types.UID]int) error {
	o.machines = machines
	var nodes []verify.Machine
	for i, m := range slices.Concat(machines, mix.Offers(mix.InstanceTypes()[:1])) {
		labels := maps.Clone(m.Labels)
		labels[corev1.LabelHostname] = fmt.Sprintf("machine-%d", i)
		nodes = append(nodes, verify.Machine{Labels: labels, Allocatable: m.Allocatable})
	}
	findings, err := verify.Check(pods, nodes, places)
	if err != nil {
		return err
	}
	o.misplaced = len(findings)
	var some []string
	for _, f := range findings[:min(3, len(findings))] {
		some = append(some, f.Pod.Name+": "+f.Why)
	}
	o.why = strings.Join(some, "; ")
	return nil
}

// measure runs a planner until it has run for two seconds, but no more than
// eleven times, and returns the median times.
func measure(once func() (took, prepared time.Duration, err error)) (*outcome, error) {
	const enough, most = 2 * time.Second, 11
	var tooks, prepares []time.Duration
	for began := time.Now(); len(tooks) == 0 || time.Since(began) < enough && len(tooks) < most; {
		runtime.GC()
		took, prepared, err := once()
		if err != nil {
			return nil, err
		}
		tooks, prepares = append(tooks, took), append(prepares, prepared)
	}
	slices.Sort(tooks)
	slices.Sort(prepares)
	return &outcome{took: tooks[len(tooks)/2], prepared: prepares[len(prepares)/2]}, nil
}
