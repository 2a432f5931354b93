package fit

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestFreeze: once the world is frozen, a pod of a group may go where nobody
// of the group is yet, or where all are that are planned: in another order of
// binding the first of them would decide where the others go.
func TestFreeze(t *testing.T) {
	for name, tc := range map[string]struct {
		planned []int // places of other pods of the group
		place   int
		want    string
	}{
		"nobody is planned":              {place: 1},
		"all are planned there":          {planned: []int{0, 0}, place: 0},
		"all are planned elsewhere":      {planned: []int{0, 0}, place: 1, want: whyNear},
		"they are planned in two places": {planned: []int{0, 1}, place: 1, want: whyNear},
	} {
		t.Run(name, func(t *testing.T) {
			c, w := NewCompiler(), NewWorld()
			c.Class(pod("x", near("x", corev1.LabelTopologyZone)), "") // from here on the label matters
			joins := c.Class(pod("x", near("x", corev1.LabelTopologyZone)), "")
			other := c.Class(pod("x"), "")
			var at []*Place
			for _, zone := range []string{"1", "2"} {
				shape := &Shape{Labels: map[string]string{hostname: zone, corev1.LabelTopologyZone: zone}, Allocatable: machineOf(8)}
				at = append(at, w.Add(PlaceOf(shape, zone, shape.Allocatable, nil)))
			}
			w.Freeze([]*Class{joins})
			for _, i := range tc.planned {
				w.Put(at[i], other, 1)
			}
			if got := w.Check(at[tc.place], joins).Why; got != tc.want {
				t.Errorf("the verdict is %q, want %q", got, tc.want)
			}
		})
	}
}
