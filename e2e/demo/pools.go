package demo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/internal/trace"
)

// gpu is the extended resource of a GPU.
const gpu = trace.GPU

// What a machine offers to pods once system and kubelet have taken their share,
// as the emulator's machines do.
const (
	offeredCPUPerMille    = 975
	offeredMemoryPerMille = 950
)

// templateTag begins the tags that describe the nodes of an empty scale set,
// Cluster Autoscaler's.
const templateTag = "k8s.io_cluster-autoscaler_node-template_resources_"

// pool is a scale set of the demo.
type pool struct {
	name, size string
	shape      emulator.Shape
	gpus       int
	max        int
	price      string // per hour, the pay-as-you-go order of magnitude
}

var (
	agents = pool{name: "agents", size: "Standard_D8s_v5", shape: emulator.Shape{VCPUs: 8, MemoryGiB: 32, Family: "standardDSv5Family"}, max: 6, price: "0.46"}
	big    = pool{name: "big", size: "Standard_D16s_v5", shape: emulator.Shape{VCPUs: 16, MemoryGiB: 64, Family: "standardDSv5Family"}, max: 2, price: "0.93"}
	gpus   = pool{name: "gpus", size: "Standard_ND96asr_v4", shape: emulator.Shape{VCPUs: 96, MemoryGiB: 900, Family: "standardNDASv4_A100Family"}, gpus: 8, max: 4, price: "27.20"}
)

// offered is what a machine of the pool has for pods.
func (p pool) offered() corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(int64(p.shape.VCPUs)*offeredCPUPerMille, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(int64(p.shape.MemoryGiB)<<10*offeredMemoryPerMille/1000<<20, resource.BinarySI),
	}
	if p.gpus > 0 {
		list[gpu] = *resource.NewQuantity(int64(p.gpus), resource.DecimalSI)
	}
	return list
}

// scaleSet describes the pool to the emulator as an owner would tag it.
func (p pool) scaleSet() emulator.ScaleSet {
	set := emulator.ScaleSet{
		Name: p.name, Size: p.size, Shape: &p.shape,
		BootTime: emulator.Between(8*time.Second, 15*time.Second),
		Tags: map[string]string{
			api.EnabledTag: "enabled",
			api.MinTag:     "0",
			api.MaxTag:     strconv.Itoa(p.max),
			api.PriceTag:   p.price,
		},
	}
	for name, quantity := range p.offered() {
		set.Tags[templateTag+strings.ReplaceAll(string(name), "/", "_")] = quantity.String()
	}
	if p.gpus > 0 {
		set.Node.Resources = corev1.ResourceList{gpu: resource.MustParse(strconv.Itoa(p.gpus))}
	}
	return set
}

func (p pool) String() string {
	text := fmt.Sprintf("%s: %d vCPU, %d GiB", p.name, p.shape.VCPUs, p.shape.MemoryGiB)
	if p.gpus > 0 {
		text += fmt.Sprintf(", %d GPUs", p.gpus)
	}
	return fmt.Sprintf("%s, 0 to %d machines", text, p.max)
}
