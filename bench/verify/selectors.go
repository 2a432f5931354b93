package verify

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func affinity(p *corev1.Pod) []corev1.PodAffinityTerm {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAffinity == nil {
		return nil
	}
	return p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

func antiAffinity(p *corev1.Pod) []corev1.PodAffinityTerm {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	return p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

// selected reports whether the pod's node selector and required node affinity
// accept a node with these labels.
func selected(p *corev1.Pod, node map[string]string) bool {
	for key, want := range p.Spec.NodeSelector {
		if have, ok := node[key]; !ok || have != want {
			return false
		}
	}
	a := p.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return true
	}
	// One term is enough; an empty one selects nothing.
	return slices.ContainsFunc(a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		return len(term.MatchExpressions) > 0 && len(term.MatchFields) == 0 &&
			!slices.ContainsFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool { return !meets(r, node) })
	})
}

func meets(r corev1.NodeSelectorRequirement, node map[string]string) bool {
	have, ok := node[r.Key]
	switch r.Operator {
	case corev1.NodeSelectorOpIn:
		return ok && slices.Contains(r.Values, have)
	case corev1.NodeSelectorOpNotIn:
		return !ok || !slices.Contains(r.Values, have)
	case corev1.NodeSelectorOpExists:
		return ok
	case corev1.NodeSelectorOpDoesNotExist:
		return !ok
	}
	number, err := strconv.ParseInt(have, 10, 64)
	if !ok || err != nil || len(r.Values) != 1 {
		return false
	}
	bound, err := strconv.ParseInt(r.Values[0], 10, 64)
	if err != nil {
		return false
	}
	if r.Operator == corev1.NodeSelectorOpGt {
		return number > bound
	}
	return r.Operator == corev1.NodeSelectorOpLt && number < bound
}

// matches reports whether the selector selects a pod with these labels; a nil
// one selects none.
func matches(s *metav1.LabelSelector, pod map[string]string) bool {
	if s == nil {
		return false
	}
	for key, want := range s.MatchLabels {
		if have, ok := pod[key]; !ok || have != want {
			return false
		}
	}
	for _, r := range s.MatchExpressions {
		have, ok := pod[r.Key]
		var met bool
		switch r.Operator {
		case metav1.LabelSelectorOpIn:
			met = ok && slices.Contains(r.Values, have)
		case metav1.LabelSelectorOpNotIn:
			met = !ok || !slices.Contains(r.Values, have)
		case metav1.LabelSelectorOpExists:
			met = ok
		case metav1.LabelSelectorOpDoesNotExist:
			met = !ok
		}
		if !met {
			return false
		}
	}
	return true
}

// text tells selectors apart; equal ones have equal texts.
func text(s *metav1.LabelSelector) string { return metav1.FormatLabelSelector(s) }
