package fit

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestClassesKeepOnlyTheLabelsThatCount: pods of a Job have labels of their own,
// and yet are judged once.
func TestClassesKeepOnlyTheLabelsThatCount(t *testing.T) {
	c := NewCompiler()
	jobPod := func(i int, app string) *corev1.Pod {
		return pod(app, func(p *corev1.Pod) {
			p.Labels["batch.kubernetes.io/job-completion-index"] = fmt.Sprint(i)
			p.Labels["controller-uid"] = fmt.Sprint(i / 10)
		})
	}
	classes := func() int {
		waiting, standing := map[*Class]bool{}, map[*Class]bool{}
		for i := range 20 {
			p := jobPod(i, []string{"web", "db"}[i%2])
			waiting[c.Class(p, "")] = true
			standing[c.Bound(p)] = true
		}
		if len(waiting) != len(standing) {
			t.Errorf("%d classes wait and %d stand", len(waiting), len(standing))
		}
		return len(waiting)
	}
	if n := classes(); n != 1 {
		t.Errorf("%d classes before there is any selector, want 1", n)
	}
	before := c.Generation()
	watcher := c.Class(pod("w", spreading(hostname), func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints[0].LabelSelector = byApp("web")
	}), "")
	if c.Generation() == before {
		t.Error("a selector that looks at a new label does not change the generation")
	}
	if n := classes(); n != 2 {
		t.Errorf("%d classes once a selector looks at the app, want 2", n)
	}
	elsewhere := jobPod(1, "web")
	elsewhere.Namespace = "elsewhere"
	other := jobPod(1, "db")
	other.Namespace = "elsewhere"
	if c.Class(elsewhere, "") != c.Class(other, "") {
		t.Error("labels count in a namespace that no selector looks into")
	}
	before = c.Generation()
	c.Class(pod("w", spreading(hostname)), "")
	if c.Generation() != before {
		t.Error("a selector that looks at the same label changes the generation")
	}
	c.Keep(map[*Class]bool{watcher: true})
	if n := classes(); n != 2 {
		t.Errorf("%d classes while the selector is still there, want 2", n)
	}
	before = c.Generation()
	c.Keep(map[*Class]bool{})
	if c.Generation() == before {
		t.Error("the end of the last selector does not change the generation")
	}
	if n := classes(); n != 1 {
		t.Errorf("%d classes once the selector is gone, want 1", n)
	}
}

// deviceClasses are a cluster's, one of which provides the extended resource
// example.com/gpu.
type deviceClasses struct{ Objects }

func (deviceClasses) Devices(name corev1.ResourceName) bool { return name == "example.com/gpu" }

// TestDevicesAreNotJudged: devices that only the scheduler can allocate keep a
// pod off nowhere.
func TestDevicesAreNotJudged(t *testing.T) {
	asksFor := func(name corev1.ResourceName) *corev1.Pod {
		return pod("x", func(p *corev1.Pod) {
			c := container("1", nil)
			c.Resources.Requests[name] = *c.Resources.Requests.Cpu()
			p.Spec.Containers = []corev1.Container{c}
		})
	}
	compiler := NewCompiler()
	compiler.Objects = deviceClasses{}
	for name, p := range map[string]*corev1.Pod{
		"resource claim": pod("x", func(p *corev1.Pod) { p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} }),
		"extended resource that is named after its class":    asksFor("deviceclass.resource.kubernetes.io/gpu"),
		"extended resource that a device class provides for": asksFor("example.com/gpu"),
	} {
		class := compiler.Class(p, "")
		if why := (&Shape{Allocatable: machineOf(8)}).Admits(class, "node"); why != "" || !class.Unjudged || len(class.Requests.Scalar) > 0 {
			t.Errorf("%s: refused for %q, unjudged: %t, requests %+v", name, why, class.Unjudged, class.Requests)
		}
	}
	if class := compiler.Class(asksFor("example.com/license"), ""); class.Unjudged || class.Requests.Scalar["example.com/license"] == 0 {
		t.Errorf("an extended resource that no device class provides: unjudged: %t, requests %+v", class.Unjudged, class.Requests)
	}
}

// TestBadSelectorsRefuse: the API server lets none pass, and the scheduler
// refuses a pod that has one.
func TestBadSelectorsRefuse(t *testing.T) {
	bad := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}
	for name, p := range map[string]*corev1.Pod{
		"spread": pod("x", spreading(hostname), func(p *corev1.Pod) { p.Spec.TopologySpreadConstraints[0].LabelSelector = bad }),
		"affinity": pod("x", near("x", hostname), func(p *corev1.Pod) {
			p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector = bad
		}),
		"anti-affinity": pod("x", awayFrom("x", hostname), func(p *corev1.Pod) {
			p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].NamespaceSelector = bad
		}),
	} {
		if why := (&Shape{}).Admits(NewCompiler().Class(p, ""), "node"); why != badSelector {
			t.Errorf("%s: refused for %q, want %q", name, why, badSelector)
		}
	}
}
