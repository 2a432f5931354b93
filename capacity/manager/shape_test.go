package manager

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

func TestShapeFromCloud(t *testing.T) {
	resources := func(pairs ...string) corev1.ResourceList {
		list := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return list
	}
	taint := corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}
	labels := map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", api.PoolLabel: "agents"}
	for name, tc := range map[string]struct {
		settings api.PoolSettings
		hardware corev1.ResourceList
		arch     string
		want     *fit.Shape
	}{
		"no tags":        {},
		"CPU alone":      {settings: api.PoolSettings{Resources: resources("cpu", "8")}},
		"memory alone":   {settings: api.PoolSettings{Resources: resources("memory", "32Gi")}},
		"CPU and memory": {settings: api.PoolSettings{Resources: resources("cpu", "8", "memory", "1Gi")}, want: &fit.Shape{Labels: labels, Allocatable: fit.Resources{MilliCPU: 8000, Memory: 1 << 30, Pods: defaultMaxPods}}},
		"hardware": {
			hardware: resources("cpu", "8", "memory", "1000", "ephemeral-storage", "2000", "nvidia.com/gpu", "1"),
			want:     &fit.Shape{Labels: labels, Allocatable: fit.Resources{MilliCPU: 8000, Memory: 925, EphemeralStorage: 1800, Pods: defaultMaxPods, Scalar: map[corev1.ResourceName]int64{"nvidia.com/gpu": 1}}},
		},
		"tags know better": {
			hardware: resources("cpu", "8", "memory", "1000"), settings: api.PoolSettings{Resources: resources("memory", "990", "nvidia.com/gpu", "2")},
			want: &fit.Shape{Labels: labels, Allocatable: fit.Resources{MilliCPU: 8000, Memory: 990, Pods: defaultMaxPods, Scalar: map[corev1.ResourceName]int64{"nvidia.com/gpu": 2}}},
		},
		"the disk alone": {hardware: resources("ephemeral-storage", "2000")},
		"Arm": {
			hardware: resources("cpu", "8", "memory", "1000"), arch: "arm64",
			want: &fit.Shape{
				Labels:      map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64", api.PoolLabel: "agents"},
				Allocatable: fit.Resources{MilliCPU: 8000, Memory: 925, Pods: defaultMaxPods},
			},
		},
		"all": {
			settings: api.PoolSettings{Resources: resources("cpu", "8", "memory", "1Gi", "pods", "20"), Labels: map[string]string{"kubernetes.io/arch": "arm64", "disk": "ssd"}, Taints: []corev1.Taint{taint}},
			want: &fit.Shape{
				Labels:      map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64", api.PoolLabel: "agents", "disk": "ssd"},
				Taints:      []corev1.Taint{taint},
				Allocatable: fit.Resources{MilliCPU: 8000, Memory: 1 << 30, Pods: 20},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			had, hardware := len(tc.settings.Resources), tc.hardware.DeepCopy()
			got := shapeFromCloud(capacity.Pool{Name: "agents", Settings: tc.settings, Hardware: tc.hardware, Arch: tc.arch})
			if tc.want != nil {
				tc.want.CSI = &fit.CSI{Unknown: true} // only nodes tell of volume drivers
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("shape (-want +got):\n%s", diff)
			}
			if len(tc.settings.Resources) != had || !cmp.Equal(hardware, tc.hardware) {
				t.Error("the pool's own settings or hardware were changed")
			}
		})
	}
}

// TestShapeFromNode: the next machine has neither this one's name nor what has
// befallen it.
func TestShapeFromNode(t *testing.T) {
	gpu := corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}
	n := &capacity.Node{Shape: fit.Shape{
		Labels: map[string]string{corev1.LabelHostname: "agents000001", api.RetiredLabel: testToken, "disk": "ssd"},
		Taints: []corev1.Taint{
			gpu, api.FenceTaint(),
			{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule},
			{Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoSchedule},
			{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute},
		},
		Allocatable: fit.Resources{MilliCPU: 7800},
	}}
	want := &fit.Shape{
		Labels: map[string]string{"disk": "ssd", api.PoolLabel: "agents"}, Taints: []corev1.Taint{gpu},
		Allocatable: fit.Resources{MilliCPU: 7800}, CSI: &fit.CSI{Unknown: true},
	}
	if diff := cmp.Diff(want, shapeFromNode(n, "agents")); diff != "" {
		t.Errorf("shape (-want +got):\n%s", diff)
	}
	if len(n.Taints) != 5 || n.Labels[corev1.LabelHostname] == "" {
		t.Error("the node itself was changed")
	}
	if got := shapeFromNode(&capacity.Node{}, "agents").Labels[api.PoolLabel]; got != "agents" {
		t.Errorf("pool %q of a node without labels, want agents", got)
	}
}
