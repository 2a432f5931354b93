package capacity

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/tidegate-k3s/tidegate/api"
)

// admits reports why the scheduler would keep pods of the class off a node of
// that shape whatever room it has; "" if it would not. The rule is
// kube-scheduler's NodeAffinity and TaintToleration plugins.
func (s *Shape) admits(class *Class, nodeName string) string {
	if len(class.Spec.NodeSelector) > 0 || class.Spec.Affinity != nil {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: s.Labels}}
		affinity := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: class.Spec})
		if ok, err := affinity.Match(node); err != nil || !ok {
			return "node selector"
		}
	}
	taint, found := corev1helpers.FindMatchingUntoleratedTaint(klog.Background(), s.Taints, class.Spec.Tolerations, keepsOff, true)
	if found {
		return "taint " + taint.Key
	}
	return ""
}

// keepsOff selects the taints that keep a pod off a node at all.
func keepsOff(taint *corev1.Taint) bool {
	return taint.Effect == corev1.TaintEffectNoSchedule || taint.Effect == corev1.TaintEffectNoExecute
}

// overhead is what the DaemonSets will take of a machine of that shape.
func overhead(shape *Shape, daemons []*Class, nodeName string) Resources {
	var sum Resources
	for _, d := range daemons {
		if shape.admits(d, nodeName) == "" {
			sum = sum.Add(d.Requests)
		}
	}
	return sum
}

// startupTaints come with a node that is still starting and go by themselves.
// Source: Kubernetes documentation, "Taints and Tolerations".
var startupTaints = map[string]bool{
	corev1.TaintNodeNotReady:                         true,
	corev1.TaintNodeUnreachable:                      true,
	corev1.TaintNodeNetworkUnavailable:               true,
	"node.cloudprovider.kubernetes.io/uninitialized": true,
}

func isStartup(t corev1.Taint) bool { return startupTaints[t.Key] }
func isFence(t corev1.Taint) bool   { return t.Key == api.RetiredTaint }

func (s *Shape) hasTaint(is func(corev1.Taint) bool) bool { return slices.ContainsFunc(s.Taints, is) }

// withoutTaints returns the shape that a node will have once these are gone.
func (s Shape) withoutTaints(gone func(corev1.Taint) bool) *Shape {
	s.Taints = slices.DeleteFunc(slices.Clone(s.Taints), gone)
	return &s
}

// Offers is what a machine of that shape has for pods beside the DaemonSets'.
func (s *Shape) Offers(daemons []*Class) Resources {
	return s.Allocatable.Sub(overhead(s, daemons, ""))
}
