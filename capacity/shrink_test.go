package capacity

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestAnEmptyNodeGoesWhateverCannotRun: thousands of pods that each ask for a node
// that there is not are not looked for on every node, and no node goes on doubt.
// Those that are free first are judged first all the same.
func TestAnEmptyNodeGoesWhateverCannotRun(t *testing.T) {
	const many = 1100 // times as many pods is more than manySearched
	po := poolOf("agents", 0)
	var all []*Node
	var demand []Pod
	for i := range many {
		n := node(fmt.Sprintf("n%04d", i))
		all = append(all, &n)
		po.Instances = append(po.Instances, n.Instance)
		demand = append(demand, pod(fmt.Sprintf("waits%04d", i), 1, class(classOf(cpus(1), "", map[string]string{"own": fmt.Sprint(i)}))))
		if i != many/2 {
			demand = append(demand, pod(fmt.Sprintf("runs%04d", i), 8, on(n.Name), endsIn(time.Hour)))
		}
	}
	po.Capacity, po.Settings.Max = many, many
	d := Plan(snapshot(pools(po), all, demand...))
	marked := func(name string) bool {
		return slices.ContainsFunc(d.Steps, func(s Step) bool { return s.Kind == StepMark && s.Node == name })
	}
	if empty := all[many/2].Name; !marked(empty) {
		t.Errorf("the empty node %s is not marked; %d nodes are", empty, len(d.Steps))
	}
	if len(d.Steps) == many {
		t.Errorf("all %d nodes are marked although not all of them were judged", many)
	}
}
