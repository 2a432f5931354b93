package fit

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/tidegate-k3s/tidegate/api"
)

// Resources is an amount of everything that a node offers and a pod takes, in
// the units that kube-scheduler counts in.
type Resources struct {
	// MilliCPU in thousandths of a CPU; Memory and EphemeralStorage in bytes.
	MilliCPU, Memory, EphemeralStorage int64
	// Pods is the number of pods: 1 for a pod, the pod limit for a node.
	Pods int64
	// Scalar holds extended resources and huge pages; nil when there are none.
	Scalar map[corev1.ResourceName]int64
}

// ResourcesOf converts a resource list. Amounts beyond what fits an int64 are
// clamped, negative ones count as zero.
func ResourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = max(0, quantity.MilliValue())
		case corev1.ResourceMemory:
			r.Memory = max(0, quantity.Value())
		case corev1.ResourceEphemeralStorage:
			r.EphemeralStorage = max(0, quantity.Value())
		case corev1.ResourcePods:
			r.Pods = max(0, quantity.Value())
		default:
			if v := max(0, quantity.Value()); v > 0 && isScalar(name) {
				if r.Scalar == nil {
					r.Scalar = map[corev1.ResourceName]int64{}
				}
				r.Scalar[name] = v
			}
		}
	}
	return r
}

// isScalar reports whether kube-scheduler counts a resource of that name beside
// those that it knows: an extended one, huge pages, attachable volumes.
func isScalar(name corev1.ResourceName) bool {
	return strings.Contains(string(name), "/") || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(string(name), corev1.ResourceAttachableVolumesPrefix)
}

// PodRequests returns what the scheduler reserves for a pod of this spec: init
// containers, sidecars, pod-level resources and overhead included. An amount
// that cannot be counted is one that no machine has.
func PodRequests(spec *corev1.PodSpec) Resources {
	if name, ok := api.Uncountable(spec); ok {
		r := ResourcesOf(corev1.ResourceList{name: *resource.NewQuantity(math.MaxInt64, resource.DecimalSI)})
		r.Pods = 1
		return r
	}
	var r Resources
	if only := onlyContainer(spec); only != nil {
		r = ResourcesOf(only.Resources.Requests)
	} else {
		r = ResourcesOf(resourcehelper.PodRequests(&corev1.Pod{Spec: *spec}, resourcehelper.PodResourcesOptions{}))
	}
	r.Pods = 1
	return r
}

// onlyContainer returns the container whose requests are all that a pod of this
// spec asks for, nil if there is more to add up. Most pods have one, and to add
// up lists takes longer than all else that is done with a pod.
func onlyContainer(spec *corev1.PodSpec) *corev1.Container {
	if len(spec.Containers) != 1 || len(spec.InitContainers) > 0 || spec.Resources != nil || spec.Overhead != nil {
		return nil
	}
	return &spec.Containers[0]
}

// BoundRequests returns what the scheduler counts for a pod that stands on a
// node. While the pod is being resized that is the larger of what it asks for
// and what it has.
func BoundRequests(pod *corev1.Pod) Resources {
	if _, ok := api.Uncountable(&pod.Spec); ok {
		return PodRequests(&pod.Spec)
	}
	var r Resources
	if only := onlyContainer(&pod.Spec); only != nil && !resourcehelper.IsPodResizeInfeasible(pod) {
		r = ResourcesOf(only.Resources.Requests)
		for _, has := range granted(pod, only.Name) {
			if len(has) > 0 {
				r = r.Max(ResourcesOf(has))
			}
		}
	} else {
		r = ResourcesOf(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{
			UseStatusResources: true,
			InPlacePodLevelResourcesVerticalScalingEnabled: true,
		}))
	}
	r.Pods = 1
	return r
}

// granted are the requests that the kubelet has set aside for a pod of one
// container and those that it has put into effect, as far as the status tells:
// that of the pod, else that of the container.
func granted(pod *corev1.Pod, container string) [2]corev1.ResourceList {
	status := &pod.Status
	if status.AllocatedResources != nil && status.Resources != nil && status.Resources.Requests != nil {
		return [2]corev1.ResourceList{status.AllocatedResources, status.Resources.Requests}
	}
	for i := range status.ContainerStatuses {
		if s := &status.ContainerStatuses[i]; s.Name == container {
			if s.Resources == nil {
				return [2]corev1.ResourceList{s.AllocatedResources}
			}
			return [2]corev1.ResourceList{s.AllocatedResources, s.Resources.Requests}
		}
	}
	return [2]corev1.ResourceList{}
}

// Add returns r + o. Sums saturate instead of overflowing.
func (r Resources) Add(o Resources) Resources { return r.combine(o, addSaturated) }

// Sub returns r - o. Differences may be negative.
func (r Resources) Sub(o Resources) Resources {
	return r.combine(o, func(a, b int64) int64 { return addSaturated(a, -b) })
}

// Max returns the larger amount of each resource.
func (r Resources) Max(o Resources) Resources {
	r.MilliCPU, r.Memory = max(r.MilliCPU, o.MilliCPU), max(r.Memory, o.Memory)
	r.EphemeralStorage, r.Pods = max(r.EphemeralStorage, o.EphemeralStorage), max(r.Pods, o.Pods)
	r.Scalar = combined(r.Scalar, o.Scalar, func(a, b int64) int64 { return max(a, b) })
	return r
}

func (r Resources) combine(o Resources, op func(a, b int64) int64) Resources {
	r.MilliCPU = op(r.MilliCPU, o.MilliCPU)
	r.Memory = op(r.Memory, o.Memory)
	r.EphemeralStorage = op(r.EphemeralStorage, o.EphemeralStorage)
	r.Pods = op(r.Pods, o.Pods)
	r.Scalar = combined(r.Scalar, o.Scalar, op)
	return r
}

// combined is a new map if there is anything in the second one, else the first.
func combined(a, b map[corev1.ResourceName]int64, op func(a, b int64) int64) map[corev1.ResourceName]int64 {
	if len(b) == 0 {
		return a
	}
	both := maps.Clone(a)
	if both == nil {
		both = make(map[corev1.ResourceName]int64, len(b))
	}
	for name, v := range b {
		both[name] = op(both[name], v)
	}
	return both
}

// Take subtracts n times o in place, or adds it for a negative n. The map must
// be r's own.
func (r *Resources) Take(o Resources, times int) {
	n := int64(times)
	if r.Scalar == nil && len(o.Scalar) > 0 {
		r.Scalar = make(map[corev1.ResourceName]int64, len(o.Scalar))
	}
	r.MilliCPU = addSaturated(r.MilliCPU, -scaled(o.MilliCPU, n))
	r.Memory = addSaturated(r.Memory, -scaled(o.Memory, n))
	r.EphemeralStorage = addSaturated(r.EphemeralStorage, -scaled(o.EphemeralStorage, n))
	r.Pods = addSaturated(r.Pods, -scaled(o.Pods, n))
	for name, v := range o.Scalar {
		r.Scalar[name] = addSaturated(r.Scalar[name], -scaled(v, n))
	}
}

// scaled multiplies, saturating instead of overflowing.
func scaled(a, n int64) int64 {
	if n == 1 {
		return a
	}
	product := a * n
	if n != 0 && (product/n != a || product == math.MinInt64) {
		if (a > 0) == (n > 0) {
			return math.MaxInt64
		}
		return -math.MaxInt64
	}
	return product
}

func addSaturated(a, b int64) int64 {
	switch sum := a + b; {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	default:
		return sum
	}
}

// Holds reports whether request fits into r. A resource that is not requested
// is not compared, as in kube-scheduler, so an overcommitted one does no harm.
func (r Resources) Holds(request Resources) bool {
	return r.Lacks(request) == ""
}

// Lacks returns the name of the first resource that r has too little of for
// the request, or "".
func (r Resources) Lacks(request Resources) corev1.ResourceName {
	switch {
	case request.MilliCPU > 0 && request.MilliCPU > r.MilliCPU:
		return corev1.ResourceCPU
	case request.Memory > 0 && request.Memory > r.Memory:
		return corev1.ResourceMemory
	case request.EphemeralStorage > 0 && request.EphemeralStorage > r.EphemeralStorage:
		return corev1.ResourceEphemeralStorage
	case request.Pods > r.Pods:
		return corev1.ResourcePods
	}
	if len(request.Scalar) == 0 { // to begin a loop over nothing is half of the time
		return ""
	}
	var lack corev1.ResourceName
	for name, want := range request.Scalar {
		if want > r.Scalar[name] && (lack == "" || name < lack) {
			lack = name
		}
	}
	return lack
}

// Count returns how many times request fits into r, at most limit.
func (r Resources) Count(request Resources, limit int) int {
	n := int64(limit)
	per := func(have, want int64) {
		if want > 0 {
			n = min(n, max(0, have/want))
		}
	}
	per(r.MilliCPU, request.MilliCPU)
	per(r.Memory, request.Memory)
	per(r.EphemeralStorage, request.EphemeralStorage)
	per(r.Pods, request.Pods)
	for name, want := range request.Scalar {
		per(r.Scalar[name], want)
	}
	return int(n)
}

// Ratio returns how many times r is as large as o in the resource in which it
// is the largest multiple; what o does not have does not count.
func (r Resources) Ratio(o Resources) float64 {
	ratio := 0.0
	per := func(want, have int64) {
		if have > 0 {
			ratio = max(ratio, float64(want)/float64(have))
		}
	}
	per(r.MilliCPU, o.MilliCPU)
	per(r.Memory, o.Memory)
	per(r.EphemeralStorage, o.EphemeralStorage)
	per(r.Pods, o.Pods)
	for name, want := range r.Scalar {
		per(want, o.Scalar[name])
	}
	return ratio
}

// Amount returns the amount of one resource.
func (r Resources) Amount(name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceCPU:
		return r.MilliCPU
	case corev1.ResourceMemory:
		return r.Memory
	case corev1.ResourceEphemeralStorage:
		return r.EphemeralStorage
	case corev1.ResourcePods:
		return r.Pods
	}
	return r.Scalar[name]
}

// Format shows an amount of the named resource the way people write it.
func Format(name corev1.ResourceName, amount int64) string {
	switch name {
	case corev1.ResourceCPU:
		return strconv.FormatFloat(float64(amount)/1000, 'g', 4, 64) + " cpu"
	case corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return fmt.Sprintf("%.1f GiB of %s", float64(amount)/(1<<30), name)
	}
	return fmt.Sprintf("%d %s", amount, name)
}

// List returns the amounts as Kubernetes writes them.
func (r Resources) List() corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewMilliQuantity(r.MilliCPU, resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(r.Memory, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(r.EphemeralStorage, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(r.Pods, resource.DecimalSI),
	}
	for name, amount := range r.Scalar {
		list[name] = *resource.NewQuantity(amount, resource.DecimalSI)
	}
	return list
}
