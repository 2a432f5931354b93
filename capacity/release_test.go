package capacity

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// spreadOverNodes is the class of pods of one CPU that spread over nodes with
// their like.
func spreadOverNodes() *fit.Class {
	requests := cpus(1).List()
	delete(requests, corev1.ResourcePods)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "work", Labels: map[string]string{"app": "spread"}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: requests}}},
			TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
				MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule,
				LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "spread"}},
			}},
		},
	}
	compiler.Class(p, "") // from here on the compiler knows that a selector looks at the label
	return compiler.Class(p, "")
}

// TestSpreadingPodsAreReleased: the scheduler takes released pods in an order of
// its own. Of pods that spread only those go at once that it takes in any, unless
// nothing but their like is being scheduled.
func TestSpreadingPodsAreReleased(t *testing.T) {
	spread := class(spreadOverNodes())
	for name, tc := range map[string]struct {
		pods []Pod
		want int // releases of pods that spread
	}{
		"all of a Job that is alone":     {pods: []Pod{pod("a", 1, spread), pod("b", 1, spread), pod("c", 1, spread), pod("d", 1, spread)}, want: 4},
		"a whole gang that is alone":     {pods: []Pod{pod("a", 1, spread, gang("g", 4)), pod("b", 1, spread, gang("g", 4)), pod("c", 1, spread, gang("g", 4)), pod("d", 1, spread, gang("g", 4))}, want: 4},
		"one on each node beside others": {pods: []Pod{pod("a", 1, spread), pod("b", 1, spread), pod("c", 1, spread), pod("d", 1, spread), pod("other", 1)}, want: 2},
		"the rest while their like are on the way": {
			pods: []Pod{pod("a", 1, spread, released("n1")), pod("b", 1, spread, released("n2")), pod("c", 1, spread), pod("d", 1, spread)}, want: 2,
		},
		"none while others are on the way and they would not fit in any order": {
			pods: []Pod{pod("a", 1, spread, released("n1")), pod("b", 1, spread, released("n2")), pod("c", 1, spread), pod("d", 1, spread), pod("other", 1, released("n1"))}, want: 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := Plan(snapshot(pools(poolOf("agents", 2, running("n1", "n2"), bounds(0, 2))), nodes(node("n1"), node("n2")), tc.pods...))
			got := 0
			for _, r := range d.Releases {
				if r.Pod.Name != "other" {
					got++
				}
			}
			if got != tc.want {
				t.Errorf("%d are released, want %d: %s", got, tc.want, strings.Join(story(d), fmt.Sprintln()))
			}
		})
	}
}
