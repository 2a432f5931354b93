package fit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

const diskZone = "topology.disk.csi.azure.com/zone"

// Drivers register one by one, and each labels the node before it is there.
func TestDrivers(t *testing.T) {
	pool := &Shape{
		Labels: map[string]string{zoneLabel: "w-1", diskZone: "w-1", "disk": "ssd"},
		CSI:    &CSI{Limits: map[string]int{"disk": 8, "file": Unlimited}, Topology: sets.New(diskZone)},
	}
	for name, tc := range map[string]struct {
		node  Shape
		lacks bool
		want  Shape // once all have registered
	}{
		"none has": {
			node:  Shape{Labels: map[string]string{zoneLabel: "w-1"}},
			lacks: true,
			want:  Shape{Labels: map[string]string{zoneLabel: "w-1", diskZone: "w-1"}, CSI: pool.CSI},
		},
		"one has, with a limit of its own": {
			node:  Shape{Labels: map[string]string{zoneLabel: "w-1", diskZone: "w-1"}, CSI: &CSI{Limits: map[string]int{"disk": 4}, Topology: sets.New(diskZone), Attached: map[string]string{"v": "disk"}}},
			lacks: true,
			want: Shape{
				Labels: map[string]string{zoneLabel: "w-1", diskZone: "w-1"},
				CSI:    &CSI{Limits: map[string]int{"disk": 4, "file": Unlimited}, Topology: sets.New(diskZone), Attached: map[string]string{"v": "disk"}},
			},
		},
		"a label is not seen yet": {
			node:  Shape{Labels: map[string]string{zoneLabel: "w-1"}, CSI: pool.CSI},
			lacks: true,
			want:  Shape{Labels: map[string]string{zoneLabel: "w-1", diskZone: "w-1"}, CSI: pool.CSI},
		},
		"all have, and one more": {
			node: Shape{Labels: map[string]string{diskZone: "w-1"}, CSI: &CSI{Limits: map[string]int{"disk": 8, "file": 1, "nfs": 2}, Topology: sets.New(diskZone)}},
			want: Shape{Labels: map[string]string{diskZone: "w-1"}, CSI: &CSI{Limits: map[string]int{"disk": 8, "file": 1, "nfs": 2}, Topology: sets.New(diskZone)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.node.LacksDrivers(pool); got != tc.lacks {
				t.Errorf("drivers are missing: %t, want %t", got, tc.lacks)
			}
			got := tc.node.WithDrivers(pool)
			if diff := cmp.Diff(tc.want, *got, cmp.Comparer((*CSI).Equal)); diff != "" {
				t.Errorf("with all drivers (-want +got):\n%s", diff)
			}
			if got.LacksDrivers(pool) {
				t.Error("drivers are missing from the shape that has them")
			}
		})
	}
}

func TestInZone(t *testing.T) {
	shape := Shape{Labels: map[string]string{zoneLabel: "w-1", diskZone: "w-1", corev1.LabelFailureDomainBetaZone: "w-1", "disk": "ssd"}}
	for name, tc := range map[string]struct {
		shape Shape
		zone  string
		want  map[string]string
	}{
		"another zone":       {shape, "w-2", map[string]string{zoneLabel: "w-2", diskZone: "w-2", corev1.LabelFailureDomainBetaZone: "w-2", "disk": "ssd"}},
		"the same":           {shape, "w-1", shape.Labels},
		"none":               {shape, "", shape.Labels},
		"a shape without it": {Shape{Labels: map[string]string{"empty": ""}}, "w-2", map[string]string{"empty": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.shape.InZone(tc.zone).Labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
		})
	}
}
