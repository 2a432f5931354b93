package fit

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// spreadRule is one hard topology spread constraint.
type spreadRule struct {
	who *selection
	key string
	// counts is false for an empty selector: it picks the pod itself and, of
	// those that stand, none.
	counts              bool
	self                bool
	maxSkew, minDomains int
	// Which nodes count: those with all the labels that the pod's hard
	// constraints name, and by the policies those that its node affinity
	// selects and whose taints it tolerates.
	keys                          []string
	honoursAffinity, honoursTaint bool
	// nodes tells apart which nodes count.
	nodes string
}

// spreadRules compiles the pod's hard topology spread constraints.
func (c *Compiler) spreadRules(class *Class, pod *corev1.Pod) []*spreadRule {
	var rules []*spreadRule
	var keys []string
	for i := range pod.Spec.TopologySpreadConstraints {
		constraint := &pod.Spec.TopologySpreadConstraints[i]
		if constraint.WhenUnsatisfiable != corev1.DoNotSchedule {
			continue
		}
		picks, err := c.spreadSelector(constraint, pod.Labels)
		if err != nil {
			class.blocked = badSelector
			return nil
		}
		keys = append(keys, constraint.TopologyKey)
		rules = append(rules, &spreadRule{
			who:             c.selection(part{namespaces: []string{pod.Namespace}, labels: picks.Selector, text: picks.text}),
			key:             constraint.TopologyKey,
			counts:          !picks.Empty(),
			self:            picks.Matches(labels.Set(pod.Labels)),
			maxSkew:         int(constraint.MaxSkew),
			minDomains:      int(ptr.Deref(constraint.MinDomains, 1)),
			honoursAffinity: ptr.Deref(constraint.NodeAffinityPolicy, corev1.NodeInclusionPolicyHonor) == corev1.NodeInclusionPolicyHonor,
			honoursTaint:    ptr.Deref(constraint.NodeTaintsPolicy, corev1.NodeInclusionPolicyIgnore) == corev1.NodeInclusionPolicyHonor,
		})
	}
	for _, r := range rules {
		var k key
		r.keys = keys
		k.text(lines(keys))
		k.flag(r.honoursAffinity)
		if r.honoursAffinity {
			k.pairs(pod.Spec.NodeSelector)
			if a := nodeAffinityOf(&pod.Spec); a != nil {
				k.object(a.RequiredDuringSchedulingIgnoredDuringExecution)
			}
		}
		k.flag(r.honoursTaint)
		if r.honoursTaint {
			k.tolerations(pod.Spec.Tolerations)
		}
		r.nodes = string(k.bytes)
	}
	return rules
}

// spreadSelector is the constraint's label selector, with the labels that it
// says to take from the pod itself.
func (c *Compiler) spreadSelector(constraint *corev1.TopologySpreadConstraint, own map[string]string) (selector, error) {
	picks, err := c.parse(constraint.LabelSelector)
	if err != nil || len(constraint.MatchLabelKeys) == 0 {
		return picks, err
	}
	same := labels.Set{}
	for _, name := range constraint.MatchLabelKeys {
		if value, ok := own[name]; ok {
			same[name] = value
		}
	}
	requirements, selectable := picks.Requirements()
	if len(same) == 0 || !selectable {
		return picks, nil
	}
	both := labels.SelectorFromSet(same).Add(requirements...)
	return selector{both, both.String()}, nil
}

// rules writes what the pod asks of other pods, its anti-affinity excepted.
func (k *key) rules(spread []*spreadRule, near *nearRule) {
	k.number(int64(len(spread)))
	for _, r := range spread {
		k.text(r.who.id)
		k.text(r.key)
		k.number(int64(r.maxSkew))
		k.number(int64(r.minDomains))
		k.flag(r.self)
		k.text(r.nodes)
	}
	k.flag(near != nil)
	if near != nil {
		k.text(near.who.id)
		k.number(int64(len(near.keys)))
		for _, name := range near.keys {
			k.text(name)
		}
	}
}
