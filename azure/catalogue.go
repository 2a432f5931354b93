package azure

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// vmSize is what the Resource SKUs API says of a VM size.
type vmSize struct {
	family   string
	vcpus    int // that count against quotas
	arch     string
	hardware corev1.ResourceList
}

// readSizes reads a region's catalogue of VM sizes; the keys are lower case.
func (conn *connection) readSizes(ctx context.Context, region string) (map[string]vmSize, error) {
	sizes := map[string]vmSize{}
	pager := conn.skus.NewListPager(&armcompute.ResourceSKUsClientListOptions{Filter: to.Ptr(fmt.Sprintf("location eq '%s'", region))})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, conn.explain(actionReadSKUs, err)
		}
		for _, sku := range page.Value {
			if strings.EqualFold(deref(sku.ResourceType), "virtualMachines") {
				sizes[strings.ToLower(deref(sku.Name))] = readSize(sku)
			}
		}
	}
	return sizes, nil
}

// readSize reads the capabilities of a size; what is missing stays unknown.
// Source: Azure REST API reference, "Resource Skus - List", and its answers.
func readSize(sku *armcompute.ResourceSKU) vmSize {
	says := map[string]string{}
	for _, c := range sku.Capabilities {
		says[deref(c.Name)] = deref(c.Value)
	}
	number := func(name string) float64 {
		n, err := strconv.ParseFloat(says[name], 64)
		if err != nil || n < 0 || n > math.MaxInt32 {
			return 0
		}
		return n
	}
	s := vmSize{family: deref(sku.Family), vcpus: int(number("vCPUs")), hardware: corev1.ResourceList{}}
	switch strings.ToLower(says["CpuArchitectureType"]) {
	case "x64":
		s.arch = "amd64"
	case "arm64":
		s.arch = "arm64"
	}
	// A size with constrained vCPUs has fewer than it is counted for.
	cpus := int64(number("vCPUsAvailable"))
	if cpus == 0 {
		cpus = int64(s.vcpus)
	}
	if cpus > 0 {
		s.hardware[corev1.ResourceCPU] = *resource.NewQuantity(cpus, resource.DecimalSI)
	}
	if memory := number("MemoryGB"); memory > 0 { // the field's name apart, GiB
		s.hardware[corev1.ResourceMemory] = gibibytes(memory)
	}
	if gpus := int64(number("GPUs")); gpus > 0 {
		s.hardware[gpuResource(s.family)] = *resource.NewQuantity(gpus, resource.DecimalSI)
	}
	return s
}

// amdFamilies are parts of the names of the families with GPUs by AMD.
// Source: Azure documentation, "GPU accelerated VM sizes": NVv4, NGads V620,
// ND MI300X v5.
var amdFamilies = []string{"nvsv4", "v620", "mi300x"}

// gpuResource is the name under which the maker's device plugin offers GPUs.
func gpuResource(family string) corev1.ResourceName {
	for _, part := range amdFamilies {
		if strings.Contains(strings.ToLower(family), part) {
			return "amd.com/gpu"
		}
	}
	return "nvidia.com/gpu"
}

func gibibytes(n float64) resource.Quantity {
	return *resource.NewQuantity(int64(n*(1<<30)), resource.BinarySI)
}
