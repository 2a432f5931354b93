package packing

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/bench/mix"
	"github.com/tidegate-k3s/tidegate/bench/tidegate"
	"github.com/tidegate-k3s/tidegate/bench/verify"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// resources are the dimensions of the generated demands, in the order of Room
// and Size, and units what one of each is.
var (
	resources = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, "nvidia.com/gpu", corev1.ResourcePods}
	units     = []int64{1, 1 << 20, 1, 1} // thousandths of a CPU, MiB, GPUs, pods
)

// unitsPerPrice are the bound's units in a pool's price: thousandths.
const unitsPerPrice = 1000

// TestPackingQuality plans 200 generated demands and compares what the machines
// cost with what no planner can do without.
func TestPackingQuality(t *testing.T) {
	const demands = 200
	var ratios []float64
	var bought, bound int64
	for seed := range int64(demands) {
		shapes, demand := generate(rand.New(rand.NewSource(seed)))
		price := planned(t, seed, shapes, demand)
		low := Bound(shapes, demand)
		if price < low {
			t.Errorf("demand %d is served for %d: the bound of %d does not hold", seed, price, low)
		}
		bought, bound = bought+price, bound+low
		ratios = append(ratios, float64(price)/float64(low))
	}
	slices.Sort(ratios)
	median, worst := (ratios[demands/2-1]+ratios[demands/2])/2, ratios[demands-1]
	t.Logf("price of the machines bought ÷ lower bound, %d demands: median %.3f, 90th percentile %.3f, worst %.3f, all together %.3f",
		demands, median, ratios[demands*9/10], worst, float64(bought)/float64(bound))
	if median > 1.03 || worst > 1.8 {
		t.Errorf("median %.3f and worst %.3f; want at most 1.03 and 1.8", median, worst)
	}
}

// generate draws one to four shapes, some with GPUs, and one to eight kinds of
// pods each of which fits one of the shapes at least.
func generate(r *rand.Rand) ([]Shape, []Items) {
	var shapes []Shape
	for range 1 + r.Intn(4) {
		cpus := int64(2) << r.Intn(5)
		memory := cpus * (2 << r.Intn(3)) // GiB
		gpus := int64(0)
		if r.Intn(5) == 0 {
			gpus = 1 << r.Intn(3)
		}
		shapes = append(shapes, Shape{
			Price: 30*cpus + 4*memory + 900*gpus,
			Room:  []int64{cpus * 1000, memory << 10, gpus, 110},
		})
	}
	var demand []Items
	for range 1 + r.Intn(8) {
		on := shapes[r.Intn(len(shapes))].Room
		gpus := int64(0)
		if on[2] > 0 && r.Intn(2) == 0 {
			gpus = 1 + r.Int63n(on[2])
		}
		demand = append(demand, Items{
			Count: logUniform(r, 1, 500),
			Size:  []int64{50 * logUniform(r, 1, on[0]/50), 64 * logUniform(r, 1, on[1]/64), gpus, 1},
		})
	}
	return shapes, demand
}

// logUniform draws from low to high; small numbers are as likely as large ones.
func logUniform(r *rand.Rand, low, high int64) int64 {
	return min(high, int64(float64(low)*math.Pow(float64(high+1)/float64(low), r.Float64())))
}

// planned returns what the machines cost that Tidegate buys for the demand.
func planned(t *testing.T, seed int64, shapes []Shape, demand []Items) int64 {
	t.Helper()
	var offers []mix.Offer
	for i, s := range shapes {
		offers = append(offers, mix.Offer{InstanceType: fmt.Sprintf("shape-%d", i), Price: float64(s.Price) / unitsPerPrice, Allocatable: quantities(s.Room)})
	}
	var pods []*corev1.Pod
	for kind, items := range demand {
		for i := range items.Count {
			name := fmt.Sprintf("kind-%d-%04d", kind, i)
			requests := quantities(items.Size)
			delete(requests, corev1.ResourcePods)
			pods = append(pods, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "work", Name: name, UID: types.UID(name)},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: requests}}}},
			})
		}
	}
	snapshot := tidegate.Snapshot(pods, tidegate.Pools(offers, len(pods)))
	bought, err := tidegate.Purchase(capacity.Plan(snapshot), capacity.Placements(snapshot), offers)
	if err != nil {
		t.Fatalf("demand %d: %v", seed, err)
	}
	var machines []verify.Machine
	for _, m := range bought.Machines {
		machines = append(machines, verify.Machine{Allocatable: m.Allocatable})
	}
	findings, err := verify.Check(pods, machines, bought.Machine)
	if err != nil {
		t.Fatalf("demand %d: %v", seed, err)
	}
	for _, f := range findings {
		t.Fatalf("demand %d: pod %s: %s", seed, f.Pod.Name, f.Why)
	}
	return int64(math.Round(mix.Price(bought.Machines) * unitsPerPrice))
}

func quantities(amounts []int64) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i, name := range resources {
		if amounts[i] == 0 {
			continue
		}
		if name == corev1.ResourceCPU {
			list[name] = *resource.NewMilliQuantity(amounts[i], resource.DecimalSI)
			continue
		}
		list[name] = *resource.NewQuantity(amounts[i]*units[i], resource.BinarySI)
	}
	return list
}
