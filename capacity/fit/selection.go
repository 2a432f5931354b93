package fit

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	operators "k8s.io/apimachinery/pkg/selection"
)

// selection is a question about a pod: does every part of it pick the pod? It
// is interned.
type selection struct {
	id    string
	parts []part
}

// part picks pods of some namespaces by their labels.
type part struct {
	// everywhere means all namespaces.
	everywhere bool
	namespaces []string
	labels     labels.Selector
	text       string // the selector's own
}

// selector is a label selector that was parsed, and its text.
type selector struct {
	labels.Selector
	text string
}

// parse parses a label selector, once for all pods that have one like it.
func (c *Compiler) parse(s *metav1.LabelSelector) (selector, error) {
	var k key
	k.flag(s != nil)
	if s != nil {
		k.pairs(s.MatchLabels)
		for i := range s.MatchExpressions {
			e := &s.MatchExpressions[i]
			k.text(e.Key)
			k.text(string(e.Operator))
			k.text(strings.Join(e.Values, "\n"))
		}
	}
	known, ok := c.selectors[string(k.bytes)]
	if !ok {
		parsed, err := metav1.LabelSelectorAsSelector(s)
		if err != nil {
			return selector{}, err
		}
		known = selector{parsed, parsed.String()}
		c.selectors[string(k.bytes)] = known
	}
	return known, nil
}

// picks reports whether the selection picks pods of the class.
func (s *selection) picks(c *Class) bool {
	for i := range s.parts {
		p := &s.parts[i]
		if !p.everywhere && !slices.Contains(p.namespaces, c.namespace) || !p.labels.Matches(c.labels) {
			return false
		}
	}
	return true
}

// demands returns a label that a pod needs to be picked, with the values that
// would do; ok is false if there is none.
func (s *selection) demands() (name string, values []string, ok bool) {
	for _, p := range s.parts {
		requirements, _ := p.labels.Requirements()
		for _, r := range requirements {
			switch r.Operator() {
			case operators.In, operators.Equals, operators.DoubleEquals:
				values := slices.Sorted(slices.Values(r.ValuesUnsorted()))
				return r.Key(), slices.Compact(values), true
			}
		}
	}
	return "", nil, false
}

// term is a selection and the node label within whose value it counts. It is
// interned.
type term struct {
	who *selection
	key string
}

func (k *key) term(t *term) {
	k.text(t.who.id)
	k.text(t.key)
}

// selection interns a selection and learns what it looks at.
func (c *Compiler) selection(parts ...part) *selection {
	var k key
	for _, p := range parts {
		k.flag(p.everywhere)
		k.text(lines(p.namespaces))
		k.text(p.text)
		k.flag(p.labels.Empty())
	}
	id := string(k.bytes)
	if known, ok := c.selections[id]; ok {
		return known
	}
	s := &selection{id: id, parts: parts}
	c.selections[id] = s
	if c.watched.learn(s) {
		c.generation++
	}
	return s
}

// part compiles the pods that an affinity term of the pod looks at.
func (c *Compiler) part(class *Class, pod *corev1.Pod, t *corev1.PodAffinityTerm) (part, error) {
	picks, err := c.parse(t.LabelSelector)
	if err != nil {
		return part{}, fmt.Errorf("label selector of an affinity term: %w", err)
	}
	p := part{namespaces: t.Namespaces, labels: picks.Selector, text: picks.text}
	if t.NamespaceSelector == nil {
		if len(p.namespaces) == 0 {
			p.namespaces = []string{pod.Namespace}
		}
		return p, nil
	}
	chosen, err := c.parse(t.NamespaceSelector)
	if err != nil {
		return part{}, fmt.Errorf("namespace selector of an affinity term: %w", err)
	}
	if chosen.Empty() {
		return part{everywhere: true, labels: picks.Selector, text: picks.text}, nil
	}
	if c.Objects == nil {
		return p, nil
	}
	class.Looked = true
	p.namespaces = slices.Clone(p.namespaces)
	for _, ns := range c.Objects.Namespaces() {
		if chosen.Matches(labels.Set(ns.Labels)) && !slices.Contains(p.namespaces, ns.Name) {
			p.namespaces = append(p.namespaces, ns.Name)
		}
	}
	return p, nil
}

// nearRule is required pod affinity: in each of the places that the node
// belongs to by these labels there is a pod that all terms pick. A pod that its
// own terms pick may be the first.
type nearRule struct {
	who  *selection
	keys []string
	self bool
}

// nearRule compiles the pod's required affinity, nil if it has none.
func (c *Compiler) nearRule(class *Class, pod *corev1.Pod) *nearRule {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAffinity == nil {
		return nil
	}
	terms := pod.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if len(terms) == 0 {
		return nil
	}
	rule := &nearRule{}
	var parts []part
	for i := range terms {
		p, err := c.part(class, pod, &terms[i])
		if err != nil {
			class.blocked = badSelector
			return nil
		}
		parts = append(parts, p)
		rule.keys = append(rule.keys, terms[i].TopologyKey)
	}
	rule.who = c.selection(parts...)
	return rule
}

// Seeks reports whether pods of the other class are among those that one of the
// class has to be near.
func (c *Class) Seeks(other *Class) bool { return c.near != nil && c.near.who.picks(other) }

// badSelector is why no node takes a pod that has a selector without meaning.
const badSelector = "a selector that cannot be parsed"

// shunned compiles the pod's required anti-affinity: no pod that a term picks
// is where the node belongs to by the term's label.
func (c *Compiler) shunned(class *Class, pod *corev1.Pod) []*term {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	var terms []*term
	required := pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	for i := range required {
		p, err := c.part(class, pod, &required[i])
		if err != nil {
			class.blocked = badSelector
			return nil
		}
		t := term{c.selection(p), required[i].TopologyKey}
		known, ok := c.terms[t]
		if !ok {
			known = &t
			c.terms[t] = known
		}
		if !slices.Contains(terms, known) {
			terms = append(terms, known)
		}
	}
	return terms
}
