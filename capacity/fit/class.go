package fit

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// Class is what the scheduler's filters look at in a pod. Pods with equal
// scheduling fields share one Class, so that they are judged once. A Class
// does not change.
type Class struct {
	// ID tells classes apart and orders them.
	ID       string
	Requests Resources
	// Spec holds the scheduling fields only: selector, affinity, tolerations.
	Spec corev1.PodSpec
	// Pool is the only pool that the pod may use, "" for any. It is Tidegate's
	// rule, not the scheduler's, and does not count in Check.
	Pool string
}

// Compiler turns pods into classes. It interns them: equal pods get one Class.
type Compiler struct{ classes map[string]*Class }

// NewCompiler returns a Compiler that knows no class yet.
func NewCompiler() *Compiler { return &Compiler{classes: map[string]*Class{}} }

// Class returns the class of a pod that is to be placed, which may only use
// that pool unless it is "".
func (c *Compiler) Class(pod *corev1.Pod, pool string) *Class {
	spec := &pod.Spec
	class := &Class{
		Requests: PodRequests(spec),
		Spec:     corev1.PodSpec{NodeSelector: spec.NodeSelector, Tolerations: spec.Tolerations},
		Pool:     pool,
	}
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
		class.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
		}}
	}
	return c.intern(class)
}

// Bound returns the class of a pod that stands on a node. The scheduler has
// chosen; only what the pod is to other pods still counts.
func (c *Compiler) Bound(pod *corev1.Pod) *Class {
	return c.intern(&Class{Requests: PodRequests(&pod.Spec)})
}

func (c *Compiler) intern(class *Class) *Class {
	id, err := json.Marshal(class)
	if err != nil {
		panic(fmt.Sprintf("encode the scheduling fields of a pod: %v", err)) // API types always encode
	}
	if known, ok := c.classes[string(id)]; ok {
		return known
	}
	class.ID = string(id)
	c.classes[class.ID] = class
	return class
}

// Len is how many classes the compiler remembers.
func (c *Compiler) Len() int { return len(c.classes) }

// Keep forgets every class that is not used any more.
func (c *Compiler) Keep(used map[*Class]bool) {
	maps.DeleteFunc(c.classes, func(_ string, class *Class) bool { return !used[class] })
}
