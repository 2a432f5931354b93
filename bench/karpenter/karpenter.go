// Package karpenter runs Karpenter's scheduler on pods, set up as its own
// benchmark sets it up.
//
// Source: sigs.k8s.io/karpenter v1.14.1,
// pkg/controllers/provisioning/scheduling/scheduling_benchmark_test.go.
package karpenter

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/log"
	karpenterv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/fake"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/logging"
	"sigs.k8s.io/karpenter/pkg/operator/options"
	"sigs.k8s.io/karpenter/pkg/test"

	"github.com/tidegate-k3s/tidegate/bench/mix"
)

// workers is how many of Karpenter's goroutines look for a place side by side
// in its benchmark.
const workers = 5

// Result is what Karpenter planned.
type Result struct {
	// Machines are the cheapest that each planned node could be bought as.
	Machines []mix.Offer
	// Order is the pods as Karpenter took them up, and Machine the number of
	// the machine of each by UID; one without a place is missing.
	Order   []*corev1.Pod
	Machine map[types.UID]int
	// Prepare is how long topology and scheduler took to construct, which its
	// benchmark does not count, and Solve the scheduling, which it does.
	Prepare, Solve time.Duration
}

func init() { log.SetLogger(logging.NopLogger) }

// Run plans machines for the pods; nothing runs yet.
func Run(pods []*corev1.Pod, catalogue []*cloudprovider.InstanceType) (Result, error) {
	ctx := options.ToContext(injection.WithControllerName(context.Background(), "provisioner"), test.Options())
	pods = slices.Clone(pods) // Karpenter sorts them in place
	began := time.Now()
	scheduler, err := newScheduler(ctx, pods, catalogue)
	if err != nil {
		return Result{}, err
	}
	prepared := time.Now()
	solved, err := scheduler.Solve(ctx, pods)
	result := Result{Prepare: prepared.Sub(began), Solve: time.Since(prepared), Order: pods, Machine: map[types.UID]int{}}
	if err != nil {
		return Result{}, fmt.Errorf("schedule %d pods with Karpenter: %w", len(pods), err)
	}
	for _, claim := range solved.NewNodeClaims {
		for _, p := range claim.Pods {
			result.Machine[p.UID] = len(result.Machines)
		}
		offer, err := cheapest(claim)
		if err != nil {
			return Result{}, err
		}
		result.Machines = append(result.Machines, offer)
	}
	return result, nil
}

func newScheduler(ctx context.Context, pods []*corev1.Pod, catalogue []*cloudprovider.InstanceType) (*scheduling.Scheduler, error) {
	pool := test.NodePool(karpenterv1.NodePool{Spec: karpenterv1.NodePoolSpec{Limits: karpenterv1.Limits{
		corev1.ResourceCPU:    resource.MustParse("10000000"),
		corev1.ResourceMemory: resource.MustParse("10000000Gi"),
	}}})
	provider := fake.NewCloudProvider()
	provider.InstanceTypes = catalogue
	client, clock := fakeclient.NewFakeClient(), clock.RealClock{}
	cluster := state.NewCluster(clock, client, provider)
	pools := []*karpenterv1.NodePool{pool}
	types := map[string][]*cloudprovider.InstanceType{pool.Name: catalogue}
	parallel := scheduling.NumConcurrentReconciles(workers)
	topology, err := scheduling.NewTopology(ctx, client, cluster, nil, pools, types, pods, parallel)
	if err != nil {
		return nil, fmt.Errorf("construct Karpenter's topology: %w", err)
	}
	recorder := events.NewRecorder(&record.FakeRecorder{})
	return scheduling.NewScheduler(ctx, client, pools, cluster, nil, topology, types, nil, recorder, clock, nil, nil, parallel), nil
}

// cheapest is the offer that a cloud would launch for the planned node; of
// those at one price, the first.
func cheapest(claim *scheduling.NodeClaim) (mix.Offer, error) {
	var best mix.Offer
	for _, it := range claim.InstanceTypeOptions {
		for _, o := range it.Offerings.Available().Compatible(claim.Requirements) {
			if best.InstanceType == "" || o.Price < best.Price {
				best = mix.OfferOf(it, o)
			}
		}
	}
	if best.InstanceType == "" {
		return mix.Offer{}, fmt.Errorf("nothing is for sale that one of Karpenter's nodes with %d pods could be", len(claim.Pods))
	}
	return best, nil
}
