package fit

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const gpu = corev1.ResourceName("nvidia.com/gpu")

func cpus(n float64) Resources {
	return Resources{MilliCPU: int64(n * 1000), Memory: int64(n * (1 << 30)), Pods: 1}
}

func machineOf(n float64) Resources {
	r := cpus(n)
	r.Pods = 110
	return r
}

func container(cpu string, restarts *corev1.ContainerRestartPolicy) corev1.Container {
	return corev1.Container{
		RestartPolicy: restarts,
		Resources:     corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
	}
}

func TestPodRequests(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	for name, tc := range map[string]struct {
		spec corev1.PodSpec
		want int64 // thousandths of a CPU
	}{
		"containers add up":                 {corev1.PodSpec{Containers: []corev1.Container{container("1", nil), container("500m", nil)}}, 1500},
		"init containers run one by one":    {corev1.PodSpec{InitContainers: []corev1.Container{container("3", nil), container("2", nil)}, Containers: []corev1.Container{container("1", nil)}}, 3000},
		"sidecars run beside the others":    {corev1.PodSpec{InitContainers: []corev1.Container{container("2", &always)}, Containers: []corev1.Container{container("1", nil)}}, 3000},
		"the runtime class's overhead adds": {corev1.PodSpec{Containers: []corev1.Container{container("1", nil)}, Overhead: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}}, 1250},
		"pod-level requests prevail": {corev1.PodSpec{Containers: []corev1.Container{container("1", nil)},
			Resources: &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")}}}, 4000},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(Resources{MilliCPU: tc.want, Pods: 1}, PodRequests(&tc.spec)); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResourcesHold(t *testing.T) {
	with := func(r Resources, n int64) Resources {
		r.Scalar = map[corev1.ResourceName]int64{gpu: n}
		return r
	}
	overcommitted := machineOf(4)
	overcommitted.Memory = -1
	onlyCPU := Resources{MilliCPU: 1000, Pods: 1}
	for name, tc := range map[string]struct {
		have, want Resources
		lacks      corev1.ResourceName
	}{
		"exactly enough":           {machineOf(2), cpus(2), ""},
		"too little CPU":           {machineOf(1), Resources{MilliCPU: 1001, Pods: 1}, corev1.ResourceCPU},
		"too little memory":        {machineOf(1), Resources{Memory: 1<<30 + 1, Pods: 1}, corev1.ResourceMemory},
		"too little storage":       {machineOf(1), Resources{EphemeralStorage: 1, Pods: 1}, corev1.ResourceEphemeralStorage},
		"no room for one more pod": {Resources{MilliCPU: 9000}, onlyCPU, corev1.ResourcePods},
		"no GPU":                   {machineOf(2), with(cpus(1), 1), gpu},
		"enough GPUs":              {with(machineOf(2), 2), with(cpus(1), 2), ""},
		"what is not requested may be overcommitted":  {overcommitted, onlyCPU, ""},
		"a pod that requests nothing fits everywhere": {Resources{Pods: 1}, Resources{Pods: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.have.Lacks(tc.want); got != tc.lacks {
				t.Errorf("lacks %q, want %q", got, tc.lacks)
			}
			if holds := tc.have.Holds(tc.want); holds != (tc.lacks == "") {
				t.Errorf("holds: %t", holds)
			}
		})
	}
}

func TestResourcesSaturate(t *testing.T) {
	huge := Resources{MilliCPU: math.MaxInt64, Memory: math.MaxInt64, Pods: 1}
	if sum := huge.Add(huge); sum.MilliCPU != math.MaxInt64 || sum.Memory != math.MaxInt64 {
		t.Errorf("the sum of two huge requests is %+v", sum)
	}
	if left := machineOf(8).Sub(huge).Sub(huge); left.Holds(cpus(1)) {
		t.Errorf("a node with two huge pods has room: %+v", left)
	}
}
