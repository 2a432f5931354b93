package fit

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
)

// Shape is what the scheduler sees of a node, whatever stands on it.
type Shape struct {
	Labels      map[string]string
	Taints      []corev1.Taint
	Allocatable Resources
	// Unschedulable is true for a cordoned node.
	Unschedulable bool
	// Features are what its kubelet declares, sorted.
	Features []string
	// CSI is what its volume drivers say, nil if they have said nothing.
	CSI *CSI
}

// ShapeOf is the node's shape, but for what its volume drivers say.
func ShapeOf(node *corev1.Node) Shape {
	return Shape{
		Labels:        node.Labels,
		Taints:        node.Spec.Taints,
		Allocatable:   ResourcesOf(node.Status.Allocatable),
		Unschedulable: node.Spec.Unschedulable,
		Features:      node.Status.DeclaredFeatures,
	}
}

// Admits reports why the scheduler would keep pods of the class off a node of
// that shape whatever room and whatever other pods it has; "" if it would not.
// The name is "" for a node that does not exist yet.
func (s *Shape) Admits(c *Class, nodeName string) string {
	labels := s.Labels
	if nodeName == "" && c.choosy() {
		labels = s.labelsOfNew()
	}
	return s.admits(c, nodeName, labels, nil)
}

// admits follows kube-scheduler's plugins NodeName, NodeAffinity,
// NodeUnschedulable, TaintToleration, NodeDeclaredFeatures, and what volumes
// ask of a node. The scratch node spares the making of one.
func (s *Shape) admits(c *Class, nodeName string, labels map[string]string, scratch *corev1.Node) string {
	if c.blocked != "" {
		return c.blocked
	}
	if c.nodeName != "" && c.nodeName != nodeName {
		return "node name"
	}
	for key, value := range c.selector { // most that is asked for is cheap to see
		if have, ok := labels[key]; !ok || have != value {
			return "node selector"
		}
	}
	if c.choosy() {
		if scratch == nil {
			scratch = &corev1.Node{}
		}
		node := nodeOf(scratch, nodeName, labels)
		if !c.selects(node) {
			return "node selector"
		}
		if why := c.volumes.admits(s, node); why != "" {
			return why
		}
	}
	if s.Unschedulable && !tolerates(c, &cordoned) {
		return "unschedulable"
	}
	if taint := s.untolerated(c); taint != nil {
		return "taint " + taint.Key
	}
	if c.features != nil {
		if ok, err := c.features.IsSubset(nodedeclaredfeatures.DefaultFramework.TryMap(s.Features)); err != nil || !ok {
			return "features of the kubelet"
		}
	}
	return ""
}

// choosy reports whether the class looks at more of a node than its taints.
func (c *Class) choosy() bool { return c.affinity != nil || c.volumes != nil }

// easy reports whether nothing but taints could keep the class off.
func (c *Class) easy() bool {
	return c.blocked == "" && c.nodeName == "" && c.features == nil && !c.choosy()
}

func (c *Class) selects(node *corev1.Node) bool {
	if c.affinity == nil {
		return true
	}
	ok, err := c.affinity.Match(node)
	return ok && err == nil
}

// unnamed is a name that no node can have: to match fields against a node
// without a name is to match all of them.
const unnamed = "(new)"

// nodeOf fills in what selectors look at.
func nodeOf(scratch *corev1.Node, name string, labels map[string]string) *corev1.Node {
	scratch.Name, scratch.Labels = cmp.Or(name, unnamed), labels
	return scratch
}

// labelsOfNew are the labels of a machine of the shape that does not exist yet.
func (s *Shape) labelsOfNew() map[string]string {
	labels := make(map[string]string, len(s.Labels)+1)
	maps.Copy(labels, s.Labels)
	labels[hostname] = unnamed
	return labels
}

// cordoned is the taint that a pod must tolerate to go to a cordoned node.
var cordoned = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

// tolerates reports whether pods of the class tolerate the taint. The operators
// Gt and Lt are behind a feature gate that is off by default.
func tolerates(c *Class, taint *corev1.Taint) bool {
	return corev1helpers.TolerationsTolerateTaint(klog.Background(), c.tolerations, taint, false)
}

// untolerated returns the first taint that keeps the class off, nil for none.
func (s *Shape) untolerated(c *Class) *corev1.Taint {
	for i := range s.Taints {
		switch s.Taints[i].Effect {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute:
			if !tolerates(c, &s.Taints[i]) {
				return &s.Taints[i]
			}
		}
	}
	return nil
}

// deterrents is how many taints deter the class without keeping it off.
func (s *Shape) deterrents(c *Class) int {
	n := 0
	for i := range s.Taints {
		if s.Taints[i].Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(c, &s.Taints[i]) {
			n++
		}
	}
	return n
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
