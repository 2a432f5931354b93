package fit

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Shape is what the scheduler sees of a node, whatever stands on it.
type Shape struct {
	Labels      map[string]string
	Taints      []corev1.Taint
	Allocatable Resources
}

// Admits reports why the scheduler would keep pods of the class off a node of
// that shape whatever room it has; "" if it would not. The rule is
// kube-scheduler's NodeAffinity and TaintToleration plugins.
func (s *Shape) Admits(class *Class, nodeName string) string {
	if len(class.Spec.NodeSelector) > 0 || class.Spec.Affinity != nil {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: cmp.Or(nodeName, unnamed), Labels: s.Labels}}
		affinity := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: class.Spec})
		if ok, err := affinity.Match(node); err != nil || !ok {
			return "node selector"
		}
	}
	if len(s.Taints) == 0 {
		return ""
	}
	// Gt and Lt in tolerations are behind a feature gate that is off by default.
	taint, found := corev1helpers.FindMatchingUntoleratedTaint(klog.Background(), s.Taints, class.Spec.Tolerations, keepsOff, false)
	if found {
		return "taint " + taint.Key
	}
	return ""
}

// unnamed is a name that no node can have: to match fields against a node
// without a name is to match all of them.
const unnamed = "(new)"

// keepsOff selects the taints that keep a pod off a node at all.
func keepsOff(taint *corev1.Taint) bool {
	return taint.Effect == corev1.TaintEffectNoSchedule || taint.Effect == corev1.TaintEffectNoExecute
}

// Overhead is what the DaemonSets will take of a node of that shape and name;
// the name is "" for one that does not exist yet.
func (s *Shape) Overhead(daemons []*Class, nodeName string) Resources {
	var sum Resources
	for _, d := range daemons {
		if s.Admits(d, nodeName) == "" {
			sum = sum.Add(d.Requests)
		}
	}
	return sum
}

// Offers is what a machine of that shape has for pods beside the DaemonSets'.
func (s *Shape) Offers(daemons []*Class) Resources {
	return s.Allocatable.Sub(s.Overhead(daemons, ""))
}

// HasTaint reports whether the shape has a taint of that kind.
func (s *Shape) HasTaint(is func(corev1.Taint) bool) bool { return slices.ContainsFunc(s.Taints, is) }

// WithoutTaints returns the shape that a node will have once these are gone.
func (s Shape) WithoutTaints(gone func(corev1.Taint) bool) *Shape {
	s.Taints = slices.DeleteFunc(slices.Clone(s.Taints), gone)
	return &s
}
