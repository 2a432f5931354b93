package oracle

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
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

func isUnborn(n *corev1.Node) bool { return strings.HasPrefix(n.Name, unborn) }

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
		write(typeName(o), o)
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

// typeName is the type of a pointer, without its package.
func typeName(o any) string {
	name := fmt.Sprintf("%T", o)
	return name[strings.LastIndex(name, ".")+1:]
}
