package oracle

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

type (
	pod  = corev1.Pod
	node = corev1.Node
)

// shrink removes what a disagreement does not need: whole objects first, then
// parts of them, as long as something can be left out.
func shrink(c *cluster, disagree func(*cluster) bool) *cluster {
	for {
		smaller := shrinkOnce(c, disagree)
		if smaller == nil {
			return c
		}
		c = smaller
	}
}

func shrinkOnce(c *cluster, disagree func(*cluster) bool) *cluster {
	for i := range c.Incoming {
		if s := (&cluster{c.Nodes, c.Pods, without(c.Incoming, i), c.Others}); len(s.Incoming) > 0 && disagree(s) {
			return s
		}
	}
	for i := range c.Pods {
		if s := (&cluster{c.Nodes, without(c.Pods, i), c.Incoming, c.Others}); disagree(s) {
			return s
		}
	}
	for i := range c.Nodes {
		var pods = slices.DeleteFunc(slices.Clone(c.Pods), func(p *pod) bool { return p.Spec.NodeName == c.Nodes[i].Name })
		if s := (&cluster{without(c.Nodes, i), pods, c.Incoming, c.Others}); disagree(s) {
			return s
		}
	}
	for i := range c.Others {
		if s := (&cluster{c.Nodes, c.Pods, c.Incoming, without(c.Others, i)}); disagree(s) {
			return s
		}
	}
	for i, n := range c.Nodes {
		for _, simpler := range simplerNodes(n) {
			if s := (&cluster{with(c.Nodes, i, simpler), c.Pods, c.Incoming, c.Others}); disagree(s) {
				return s
			}
		}
	}
	for i, p := range c.Pods {
		for _, simpler := range simplerPods(p) {
			if s := (&cluster{c.Nodes, with(c.Pods, i, simpler), c.Incoming, c.Others}); disagree(s) {
				return s
			}
		}
	}
	for i, p := range c.Incoming {
		for _, simpler := range simplerPods(p) {
			if s := (&cluster{c.Nodes, c.Pods, with(c.Incoming, i, simpler), c.Others}); disagree(s) {
				return s
			}
		}
	}
	return nil
}

func without[T any](list []T, i int) []T { return slices.Delete(slices.Clone(list), i, i+1) }

func with[T any](list []T, i int, v T) []T {
	list = slices.Clone(list)
	list[i] = v
	return list
}

// simplerNodes are copies of the node with one part less.
func simplerNodes(n *node) []*node {
	var out []*node
	less := func(change func(*node)) {
		simpler := n.DeepCopy()
		change(simpler)
		out = append(out, simpler)
	}
	for key := range n.Labels {
		if key == corev1.LabelHostname && isUnborn(n) {
			continue // it has one by definition
		}
		less(func(n *node) { delete(n.Labels, key) })
	}
	for i := range n.Spec.Taints {
		less(func(n *node) { n.Spec.Taints = without(n.Spec.Taints, i) })
	}
	return out
}

// simplerPods are copies of the pod with one part less.
func simplerPods(p *pod) []*pod {
	var out []*pod
	less := func(change func(*pod)) {
		simpler := p.DeepCopy()
		change(simpler)
		out = append(out, simpler)
	}
	for key := range p.Labels {
		less(func(p *pod) { delete(p.Labels, key) })
	}
	for key := range p.Spec.NodeSelector {
		less(func(p *pod) { delete(p.Spec.NodeSelector, key) })
	}
	for i := range p.Spec.Tolerations {
		less(func(p *pod) { p.Spec.Tolerations = without(p.Spec.Tolerations, i) })
	}
	for i := range p.Spec.Volumes {
		less(func(p *pod) { p.Spec.Volumes = without(p.Spec.Volumes, i) })
	}
	for i := range p.Spec.TopologySpreadConstraints {
		less(func(p *pod) { p.Spec.TopologySpreadConstraints = without(p.Spec.TopologySpreadConstraints, i) })
	}
	for i := range p.Spec.InitContainers {
		less(func(p *pod) { p.Spec.InitContainers = without(p.Spec.InitContainers, i) })
	}
	for i := range p.Spec.Containers {
		less(func(p *pod) { p.Spec.Containers = without(p.Spec.Containers, i) })
	}
	if p.DeletionTimestamp != nil {
		less(func(p *pod) { p.DeletionTimestamp, p.Finalizers = nil, nil })
	}
	a := p.Spec.Affinity
	if a == nil {
		return out
	}
	less(func(p *pod) { p.Spec.Affinity = nil })
	if a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for i := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			less(func(p *pod) {
				required := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
				required.NodeSelectorTerms = without(required.NodeSelectorTerms, i)
			})
		}
	}
	if a.NodeAffinity != nil {
		less(func(p *pod) { p.Spec.Affinity.NodeAffinity = nil })
	}
	if a.PodAffinity != nil {
		for i := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			less(func(p *pod) {
				terms := &p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
				*terms = without(*terms, i)
			})
		}
	}
	if a.PodAntiAffinity != nil {
		for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			less(func(p *pod) {
				terms := &p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
				*terms = without(*terms, i)
			})
		}
	}
	return out
}
