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
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: s.Labels},
		Spec:       corev1.NodeSpec{Taints: s.Taints},
	}
	affinity := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: class.Spec})
	if ok, err := affinity.Match(node); err != nil || !ok {
		return "node selector"
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

func (s *Shape) hasStartupTaint() bool {
	return slices.ContainsFunc(s.Taints, func(t corev1.Taint) bool { return startupTaints[t.Key] })
}

// withoutStartupTaints returns the shape that a starting node will have.
func (s Shape) withoutStartupTaints() Shape {
	return s.withoutTaints(func(t corev1.Taint) bool { return startupTaints[t.Key] })
}

// withoutFence returns the shape that a fenced node has once it is taken back.
func (s Shape) withoutFence() Shape {
	return s.withoutTaints(func(t corev1.Taint) bool { return t.Key == api.RetiredTaint })
}

func (s Shape) withoutTaints(drop func(corev1.Taint) bool) Shape {
	s.Taints = slices.DeleteFunc(slices.Clone(s.Taints), drop)
	return s
}

// Offers is what a machine of that shape has for pods beside the DaemonSets'.
func (s *Shape) Offers(daemons []*Class) Resources {
	return s.Allocatable.Sub(overhead(s, daemons, ""))
}
