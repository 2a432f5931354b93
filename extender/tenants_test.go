package extender

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Whatever the informer tells, each bound and unfinished pod is on its node.
func TestTenantsFollowTheInformer(t *testing.T) {
	onA, onB := bound(newPod("p"), "a"), bound(newPod("p"), "b")
	finished := bound(newPod("p"), "a")
	finished.Status.Phase = corev1.PodSucceeded

	for name, tc := range map[string]struct {
		events func(*Tenants)
		want   map[string][]string
	}{
		"bound":         {events: func(v *Tenants) { v.OnAdd(newPod("p"), false); v.OnUpdate(newPod("p"), onA) }, want: map[string][]string{"a": {"p"}}},
		"not bound":     {events: func(v *Tenants) { v.OnAdd(newPod("p"), false) }},
		"added twice":   {events: func(v *Tenants) { v.OnAdd(onA, true); v.OnAdd(onA, false) }, want: map[string][]string{"a": {"p"}}},
		"two on a node": {events: func(v *Tenants) { v.OnAdd(onA, true); v.OnAdd(bound(newPod("q"), "a"), true) }, want: map[string][]string{"a": {"p", "q"}}},
		"finished":      {events: func(v *Tenants) { v.OnAdd(onA, true); v.OnUpdate(onA, finished) }},
		"deleted":       {events: func(v *Tenants) { v.OnAdd(onA, true); v.OnDelete(onA) }},
		"deletion missed": {events: func(v *Tenants) {
			v.OnAdd(onA, true)
			v.OnDelete(cache.DeletedFinalStateUnknown{Key: "default/p", Obj: onA})
		}},
		"recreated":         {events: func(v *Tenants) { v.OnAdd(onA, true); v.OnUpdate(onA, onB) }, want: map[string][]string{"b": {"p"}}},
		"deleted unbound":   {events: func(v *Tenants) { v.OnAdd(onA, true); v.OnDelete(newPod("q")) }, want: map[string][]string{"a": {"p"}}},
		"something foreign": {events: func(v *Tenants) { v.OnAdd(&corev1.Node{}, true); v.OnDelete("node") }},
	} {
		t.Run(name, func(t *testing.T) {
			var view Tenants
			tc.events(&view)
			got := map[string][]string{}
			for node, pods := range view.byNode {
				for pod := range maps.Keys(pods) {
					got[node] = append(got[node], pod.Name)
				}
				slices.Sort(got[node])
			}
			if tc.want == nil {
				tc.want = map[string][]string{}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("pods by node (-want +got):\n%s", diff)
			}
		})
	}
}
