package fit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Class is what the scheduler's filters look at in a pod. Pods with equal
// scheduling fields share one Class, so that they are judged once. A Class
// does not change.
type Class struct {
	// ID tells classes apart and orders them; it is not for people.
	ID       string
	Requests Resources
	// Pool is the only pool that the pod may use, "" for any. It is Tidegate's
	// rule, not the scheduler's, and does not count in Check.
	Pool string
	// Unjudged is true if the pod needs devices of dynamic resource allocation.
	// Only the scheduler can judge these; they keep the pod off no place here.
	Unjudged bool
	// Looked is true if the class was compiled with the help of other objects
	// than the pod, so that it has to be compiled again when one changes.
	Looked bool

	// blocked says why no place at all takes the pod, "" if some might.
	blocked string

	// What the pod asks of a node.
	nodeName    string
	selector    map[string]string // the node selector, which is part of affinity too
	affinity    *nodeaffinity.RequiredNodeAffinity
	preferred   *nodeaffinity.PreferredSchedulingTerms
	tolerations []corev1.Toleration
	features    *nodedeclaredfeatures.FeatureSet
	volumes     *volumes
	wish        *Wish

	// What it shares with the other pods of a node.
	ports []hostPort

	// What it is to other pods: its namespace, if some selector looks at pods
	// of that namespace, and the labels that some selector looks at.
	namespace string
	labels    labels.Set

	// What it asks of other pods.
	spread  []*spreadRule
	near    *nearRule
	shunned []*term // required anti-affinity
}

// Wish is what pods ask of a node, and of its pool, whatever room and whatever
// other pods it has. It is interned: classes with the same Wish are admitted by
// the same nodes.
type Wish struct{ _ int }

// Wish returns the class's wish, nil for a class of pods that stand.
func (c *Class) Wish() *Wish { return c.wish }

// Prefers reports whether pods of the class like some places better than
// others.
func (c *Class) Prefers() bool { return c.preferred != nil }

// Blocked says why no place at all takes pods of the class, "" if some might.
func (c *Class) Blocked() string { return c.blocked }

// Hosts are the host names of the nodes on whose disks pods of the class have volumes.
func (c *Class) Hosts() []string {
	if c.volumes == nil {
		return nil
	}
	return c.volumes.hosts
}

// related reports whether the class has a rule about pods elsewhere than on
// the node itself.
func (c *Class) related() bool {
	return len(c.spread) > 0 || c.near != nil || len(c.shunned) > 0 || c.volumes.related()
}

// Zonal reports whether the class has a rule that counts pods by zones, to have
// them spread or together.
func (c *Class) Zonal() bool {
	return slices.ContainsFunc(c.spread, func(r *spreadRule) bool { return r.key == zoneLabel }) ||
		c.near != nil && slices.Contains(c.near.keys, zoneLabel)
}

// crowds reports whether a pod of the class takes something of its node that
// the other pods there can see, beside resources.
func (c *Class) crowds() bool { return len(c.ports) > 0 || c.volumes.crowds() }

// Count is how many pods of a class stand together.
type Count struct {
	Class *Class
	N     int
	// Terminating are how many of them are being deleted.
	Terminating int
}
