package oracle

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// These rules look at where other pods are.
func init() {
	rules["spread"] = rule{node: taintNode, pod: func(g *generator, p *corev1.Pod) {
		for range 1 + g.IntN(2) {
			p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, g.spread())
		}
		if g.chance(30) {
			p.Spec.NodeSelector = map[string]string{"disk": "ssd"}
		}
		if g.chance(30) {
			tolerate(g, p)
		}
	}}
	rules["podaffinity"] = rule{pod: func(g *generator, p *corev1.Pod) {
		if g.chance(60) {
			affinityOf(p).PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: g.terms()}
		}
	}}
	rules["antiaffinity"] = rule{pod: func(g *generator, p *corev1.Pod) {
		if g.chance(50) {
			affinityOf(p).PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: g.terms()}
		}
	}}
	rules["hostnames"] = rule{node: func(g *generator, n *corev1.Node) {
		if isUnborn(n) {
			return
		}
		switch g.IntN(4) {
		case 0:
			delete(n.Labels, corev1.LabelHostname)
		case 1:
			n.Labels[corev1.LabelHostname] = "shared"
		}
	}}
}

var topologyKeys = []string{corev1.LabelTopologyZone, corev1.LabelTopologyZone, corev1.LabelHostname, corev1.LabelHostname, "disk"}

// labelSelector selects by app and tier; it may be nil, and may be empty.
func (g *generator) labelSelector() *metav1.LabelSelector {
	if g.chance(4) {
		return nil
	}
	s := &metav1.LabelSelector{}
	if g.chance(50) {
		s.MatchLabels = map[string]string{"app": pick(g, []string{"web", "db", "batch"})}
	}
	if g.chance(35) {
		r := metav1.LabelSelectorRequirement{Key: pick(g, []string{"tier", "app"}), Operator: pick(g, []metav1.LabelSelectorOperator{
			metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist,
		})}
		if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpNotIn {
			r.Values = append(some(g, 2, []string{"1", "2", "web"}), "db")
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	return s
}

func (g *generator) spread() corev1.TopologySpreadConstraint {
	policies := []corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore}
	c := corev1.TopologySpreadConstraint{
		MaxSkew:           int32(1 + g.IntN(2)),
		TopologyKey:       pick(g, topologyKeys),
		WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector:     g.labelSelector(),
	}
	if s := c.LabelSelector; g.nominates && s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		c.LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	}
	if g.chance(10) {
		c.WhenUnsatisfiable = corev1.ScheduleAnyway
	}
	if g.chance(30) {
		n := int32(1 + g.IntN(4))
		c.MinDomains = &n
	}
	if g.chance(25) {
		c.MatchLabelKeys = []string{"tier", "unset"}
	}
	if g.chance(40) {
		c.NodeAffinityPolicy = new(pick(g, policies))
	}
	if g.chance(40) {
		c.NodeTaintsPolicy = new(pick(g, policies))
	}
	return c
}

func (g *generator) terms() []corev1.PodAffinityTerm {
	var terms []corev1.PodAffinityTerm
	for range 1 + g.IntN(2) {
		t := corev1.PodAffinityTerm{LabelSelector: g.labelSelector(), TopologyKey: pick(g, topologyKeys)}
		if g.chance(30) {
			t.Namespaces = append(some(g, 1, namespaces), "blue")
		}
		if g.chance(30) {
			t.NamespaceSelector = &metav1.LabelSelector{}
			if g.chance(60) {
				t.NamespaceSelector.MatchLabels = map[string]string{"team": "a"}
			} else if g.chance(30) {
				t.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpDoesNotExist}}
			}
		}
		terms = append(terms, t)
	}
	return terms
}
