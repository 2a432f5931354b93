package fit

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Compiler turns pods into classes. It interns them: equal pods get one Class.
//
// Of a pod's labels a class keeps only those that some selector looks at, else
// the labels that are unique to each pod of a Job would make each a class of
// its own. So the compiler learns which these are from the pods that it
// compiles. When it learns of a new one, the pods that it compiled before have
// to be compiled again: Generation tells.
type Compiler struct {
	// Objects finds what decides beside pods and nodes. With nil volumes are
	// not judged, and a namespace selector selects no namespace.
	Objects Objects

	classes    map[string]*Class
	wishes     map[string]*Wish
	selectors  map[string]selector
	selections map[string]*selection
	terms      map[term]*term
	watched    watched
	generation int
	scratch    key
	lists      lists
}

// NewCompiler returns a Compiler that knows no class yet.
func NewCompiler() *Compiler {
	return &Compiler{
		classes:    map[string]*Class{},
		wishes:     map[string]*Wish{},
		selectors:  map[string]selector{},
		selections: map[string]*selection{},
		terms:      map[term]*term{},
		watched:    watched{},
	}
}

// Generation changes when pods compiled before have to be compiled again.
func (c *Compiler) Generation() int { return c.generation }

// Len is how many classes the compiler remembers.
func (c *Compiler) Len() int { return len(c.classes) }

// Keep forgets every class that is not used any more.
func (c *Compiler) Keep(used map[*Class]bool) {
	maps.DeleteFunc(c.classes, func(_ string, class *Class) bool { return !used[class] })
	c.wishes, c.lists = map[string]*Wish{}, nil
	c.selectors = map[string]selector{}
	c.selections = map[string]*selection{}
	c.terms = map[term]*term{}
	for class := range used {
		for _, t := range class.shunned {
			c.selections[t.who.id], c.terms[*t] = t.who, t
		}
		if class.near != nil {
			c.selections[class.near.who.id] = class.near.who
		}
		for _, r := range class.spread {
			c.selections[r.who.id] = r.who
		}
	}
	narrower := watched{}
	for _, s := range c.selections {
		narrower.learn(s)
	}
	if len(narrower) < len(c.watched) {
		c.watched = narrower
		c.generation++
	}
}

// Class returns the class of a pod that is to be placed, which may only use
// that pool unless it is "".
func (c *Compiler) Class(pod *corev1.Pod, pool string) *Class {
	class := &Class{Requests: PodRequests(&pod.Spec), Pool: pool}
	c.judgeDevices(class, &pod.Spec)
	spread := c.spreadRules(class, pod)
	near := c.nearRule(class, pod)
	c.compileShared(class, pod)
	c.compileVolumes(class, pod, false)

	k := c.begin(class)
	k.rules(spread, near)
	wish := len(k.bytes)
	k.text(pod.Spec.NodeName)
	k.pairs(pod.Spec.NodeSelector)
	k.tolerations(pod.Spec.Tolerations)
	nodeAffinity := nodeAffinityOf(&pod.Spec)
	k.flag(nodeAffinity != nil)
	if nodeAffinity != nil {
		k.object(nodeAffinity)
	}
	features := featuresOf(&pod.Spec)
	k.flag(!features.IsEmpty())
	if !features.IsEmpty() {
		k.text(features.String())
	}
	k.text(class.Pool)
	k.text(class.blocked)
	return c.intern(class, func() {
		class.wish = c.wish(class, k.bytes[wish:])
		class.nodeName = pod.Spec.NodeName
		class.tolerations = pod.Spec.Tolerations
		class.spread, class.near = spread, near
		if near != nil {
			near.self = near.who.picks(class)
		}
		if !features.IsEmpty() {
			class.features = &features
		}
		if nodeAffinity != nil || len(pod.Spec.NodeSelector) > 0 {
			required := nodeaffinity.GetRequiredNodeAffinity(pod)
			class.affinity, class.selector = &required, pod.Spec.NodeSelector
		}
		if nodeAffinity != nil && len(nodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
			// What cannot be parsed prefers nothing.
			class.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(nodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	})
}

// Bound returns the class of a pod that stands on a node. The scheduler has
// chosen; only what the pod is to other pods still counts.
func (c *Compiler) Bound(pod *corev1.Pod) *Class {
	class := &Class{Requests: BoundRequests(pod)}
	c.judgeDevices(class, &pod.Spec)
	c.compileShared(class, pod)
	c.compileVolumes(class, pod, true)
	// A pod that stands is refused nowhere.
	class.blocked = ""
	c.begin(class)
	return c.intern(class, func() {})
}

// compileShared compiles what a pod is to others, whether it stands or not.
func (c *Compiler) compileShared(class *Class, pod *corev1.Pod) {
	class.ports = hostPorts(&pod.Spec)
	class.shunned = c.shunned(class, pod)
	class.namespace, class.labels = c.watched.keep(pod)
}

// begin starts the key of a class with what compileShared and the compilation
// of its volumes have found.
func (c *Compiler) begin(class *Class) *key {
	k := &c.scratch
	k.bytes = k.bytes[:0]
	k.resources(class.Requests)
	k.flag(class.Unjudged)
	k.flag(class.Looked)
	k.text(class.namespace)
	k.pairs(class.labels)
	k.ports(class.ports)
	k.number(int64(len(class.shunned)))
	for _, t := range class.shunned {
		k.term(t)
	}
	class.volumes.key(k)
	return k
}

// wish interns what the class asks of a node; volumes ask what no other class does.
func (c *Compiler) wish(class *Class, key []byte) *Wish {
	if class.volumes != nil {
		return &Wish{}
	}
	known := c.wishes[string(key)]
	if known == nil {
		known = &Wish{}
		c.wishes[string(key)] = known
	}
	return known
}

// intern returns the class that has the key already, or the new one once it is
// complete.
func (c *Compiler) intern(class *Class, complete func()) *Class {
	if known, ok := c.classes[string(c.scratch.bytes)]; ok {
		return known
	}
	complete()
	class.ID = string(c.scratch.bytes)
	c.classes[class.ID] = class
	return class
}

// judgeDevices takes what dynamic resource allocation provides out of the
// requests.
func (c *Compiler) judgeDevices(class *Class, spec *corev1.PodSpec) {
	class.Unjudged = len(spec.ResourceClaims) > 0
	for name := range class.Requests.Scalar {
		if c.Objects != nil && c.Objects.Devices(name) {
			class.Looked = true
		} else if !strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix) {
			continue
		}
		class.Unjudged = true
		class.Requests.Scalar = maps.Clone(class.Requests.Scalar)
		delete(class.Requests.Scalar, name)
	}
	if len(class.Requests.Scalar) == 0 {
		class.Requests.Scalar = nil
	}
}

func nodeAffinityOf(spec *corev1.PodSpec) *corev1.NodeAffinity {
	if spec.Affinity == nil {
		return nil
	}
	return spec.Affinity.NodeAffinity
}

// newest is the scheduler whose features are judged. So far none of them ends
// with a version.
var newest = version.MustParse("1.37.0")

// featuresOf is what the pod needs a kubelet to declare.
func featuresOf(spec *corev1.PodSpec) nodedeclaredfeatures.FeatureSet {
	features, err := nodedeclaredfeatures.DefaultFramework.InferForPodScheduling(&nodedeclaredfeatures.PodInfo{Spec: spec}, newest)
	if err != nil {
		panic(err) // only for want of a version
	}
	return features
}

// watched are the label keys that selectors look at, by the namespace that they
// look into; "" stands for all namespaces. A namespace without a key is one
// whose pods are selected whatever their labels.
type watched map[watch]bool

type watch struct{ namespace, key string }

// learn adds what the selection looks at, and reports whether that is new.
func (w watched) learn(s *selection) bool {
	before := len(w)
	for _, p := range s.parts {
		namespaces := p.namespaces
		if p.everywhere {
			namespaces = []string{""}
		}
		requirements, _ := p.labels.Requirements()
		for _, ns := range namespaces {
			w[watch{namespace: ns}] = true
			for _, r := range requirements {
				w[watch{ns, r.Key()}] = true
			}
		}
	}
	return len(w) > before
}

// keep returns what a class has to keep of the pod's namespace and labels.
func (w watched) keep(pod *corev1.Pod) (string, labels.Set) {
	if len(w) == 0 {
		return "", nil
	}
	var kept labels.Set
	for name, value := range pod.Labels {
		if w[watch{pod.Namespace, name}] || w[watch{"", name}] {
			if kept == nil {
				kept = labels.Set{}
			}
			kept[name] = value
		}
	}
	if w[watch{namespace: pod.Namespace}] {
		return pod.Namespace, kept
	}
	return "", kept
}
