package manager

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

func TestTheModelIsNotedOnTheNode(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{}, fencedNode())
	for _, outdated := range []bool{true, false} {
		step := commitStep()
		step.Kind, step.Instance.Outdated = capacity.StepRecordModel, outdated
		if err := w.perform(t.Context(), w.node(t), step); err != nil {
			t.Fatal(err)
		}
		if got := api.Outdated(w.node(t)); got != outdated {
			t.Errorf("noted as outdated: %t, want %t", got, outdated)
		}
	}
}

func hardware(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// A pool whose VM size was changed is no longer judged by its former nodes, if
// Azure says what the new size has; labels and taints are still theirs.
func TestAnotherVMSize(t *testing.T) {
	former := &fit.Shape{
		Labels:      map[string]string{"disk": "ssd"},
		Taints:      []corev1.Taint{{Key: "batch", Effect: corev1.TaintEffectNoSchedule}},
		Allocatable: fit.ResourcesOf(hardware("8", "30Gi")),
	}
	for name, tc := range map[string]struct {
		size     string
		hardware corev1.ResourceList
		restart  bool  // of the manager, between the two
		cpu      int64 // of the next machine, in cores
		learned  bool  // from a node
	}{
		"the same":                      {size: "Standard_D8s_v5", hardware: hardware("8", "32Gi"), cpu: 8, learned: true},
		"another":                       {size: "Standard_D16s_v5", hardware: hardware("16", "64Gi"), cpu: 16},
		"another, seen after a restart": {size: "Standard_D16s_v5", hardware: hardware("16", "64Gi"), restart: true, cpu: 16},
		"another that nobody describes": {size: "Standard_X1", cpu: 8, learned: true},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{pool: capacity.Pool{VMSize: "Standard_D8s_v5", Hardware: hardware("8", "32Gi"), Settled: true}}
			inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
				p.learn("agents", former, 0)
				if tc.restart {
					published := shownShapes{}.status(capacity.Snapshot{Pools: p.snapshot()})
					p = newPools(cloud, p.now, p.log, p.changed)
					p.restore(published)
				}
				cloud.pool.VMSize, cloud.pool.Hardware = tc.size, tc.hardware
				p.refresh(t.Context())
				shape := agents(t, p).Shape
				if got := shape.Allocatable.MilliCPU; got != tc.cpu*1000 {
					t.Errorf("the next machine offers %d mCPU, want %d cores", got, tc.cpu)
				}
				if shape.Labels["disk"] != "ssd" {
					t.Errorf("labels %v, want those of the former nodes", shape.Labels)
				}
				if diff := cmp.Diff(former.Taints, shape.Taints); diff != "" {
					t.Errorf("taints (-want +got):\n%s", diff)
				}
				if got := p.learned("agents"); got != tc.learned && !tc.restart {
					t.Errorf("judged by a node of the pool: %t, want %t", got, tc.learned)
				}
			})
		})
	}
}
