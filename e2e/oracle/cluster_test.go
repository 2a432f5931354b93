package oracle

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// cluster is a cluster with pods that are to be judged one after the other.
type cluster struct {
	Nodes []*corev1.Node
	// Pods stand on nodes, Incoming do not yet.
	Pods, Incoming []*corev1.Pod
	// Others is what else the scheduler looks at.
	Others []runtime.Object
}

// unborn marks, by the beginning of its name, a node that Tidegate has to judge
// as a machine that does not exist yet.
const unborn = "unborn-"

func (c *cluster) objects() []runtime.Object {
	objects := append([]runtime.Object{}, c.Others...)
	for _, n := range c.Nodes {
		objects = append(objects, n)
	}
	return objects
}

// String is the cluster as YAML documents.
func (c *cluster) String() string {
	var b strings.Builder
	write := func(title string, object any) {
		text, err := yaml.Marshal(object)
		if err != nil {
			panic(err) // API types always encode
		}
		b.WriteString("--- # " + title + "\n")
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, "creationTimestamp: null") && strings.TrimSpace(line) != "status: {}" {
				b.WriteString(line)
			}
		}
	}
	for _, o := range c.Others {
		write(strings.TrimPrefix(strings.TrimPrefix(typeName(o), "*v1."), "*"), o)
	}
	for _, n := range c.Nodes {
		write("Node", map[string]any{"metadata": n.ObjectMeta, "spec": n.Spec, "status": map[string]any{"allocatable": n.Status.Allocatable}})
	}
	for _, p := range c.Pods {
		write("Pod that stands", p)
	}
	for _, p := range c.Incoming {
		write("Pod to judge", p)
	}
	return b.String()
}

// tidegate is Tidegate's view of the cluster.
type tidegate struct {
	compiler *fit.Compiler
	world    *fit.World
	places   []*fit.Place
}

// newTidegate returns the view, before any pod of Incoming is placed.
func newTidegate(c *cluster) (*tidegate, []*fit.Class) {
	t := &tidegate{compiler: fit.NewCompiler(), world: fit.NewWorld()}
	standing := map[string][]fit.Count{}
	used := map[string]fit.Resources{}
	for _, p := range c.Pods {
		class := t.compiler.Bound(p)
		standing[p.Spec.NodeName] = append(standing[p.Spec.NodeName], fit.Count{Class: class, N: 1})
		used[p.Spec.NodeName] = used[p.Spec.NodeName].Add(class.Requests)
	}
	for _, n := range c.Nodes {
		name := n.Name
		if strings.HasPrefix(name, unborn) {
			name = ""
		}
		shape := &fit.Shape{Labels: n.Labels, Taints: n.Spec.Taints, Allocatable: fit.ResourcesOf(n.Status.Allocatable)}
		t.places = append(t.places, t.world.Add(shape, name, shape.Allocatable.Sub(used[n.Name]), standing[n.Name]))
	}
	var classes []*fit.Class
	for _, p := range c.Incoming {
		classes = append(classes, t.compiler.Class(p, ""))
	}
	return t, classes
}

func typeName(o any) string { return fmt.Sprintf("%T", o) }
