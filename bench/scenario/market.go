// Package scenario builds the clusters and the demands that the planner's
// benchmarks plan for.
package scenario

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/bench/mix"
)

// maxPods is kubelet's default.
const maxPods = 110

// Market is six sizes of machines in three zones: 4 GiB of memory for a CPU and
// a price in proportion.
func Market() []mix.Offer {
	var offers []mix.Offer
	for _, cpus := range []int64{2, 4, 8, 16, 32, 64} {
		for zone := range 3 {
			offers = append(offers, machine(fmt.Sprintf("d%d", cpus), fmt.Sprintf("zone-%d", zone+1), cpus*1000, cpus<<32, maxPods, 0.05*float64(cpus)))
		}
	}
	return offers
}

// machine offers so many thousandths of a CPU and bytes of memory.
func machine(name, zone string, milliCPU, memory, pods int64, price float64) mix.Offer {
	return mix.Offer{
		InstanceType: name, Zone: zone, CapacityType: "on-demand", Price: price,
		Labels: map[string]string{
			corev1.LabelOSStable:           "linux",
			corev1.LabelArchStable:         "amd64",
			corev1.LabelInstanceTypeStable: name,
			corev1.LabelTopologyZone:       zone,
		},
		Allocatable: resources(milliCPU, memory, pods),
	}
}

func resources(milliCPU, memory, pods int64) corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
	}
	if pods > 0 {
		list[corev1.ResourcePods] = *resource.NewQuantity(pods, resource.DecimalSI)
	}
	return list
}
