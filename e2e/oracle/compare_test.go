package oracle

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// result is what a comparison found.
type result struct {
	cases int
	// accepted is how many of the cases both judges let pass, and refused how
	// many each of the scheduler's plugins did not.
	accepted int
	refused  map[string]int
	// disagreement is "" if there was none, and kind tells it from others: the
	// plugin that refused, or what else is wrong.
	disagreement, kind string
}

func (r *result) disagree(kind, format string, args ...any) {
	if r.disagreement == "" {
		r.kind, r.disagreement = kind, fmt.Sprintf(format, args...)
	}
}

// comparison is a cluster before both judges.
type comparison struct {
	result
	*cluster
	real *kubeScheduler
	ours *tidegate
	put  []planned
	// said is what Tidegate said of each pod and node, since the last lift.
	said map[planned]opinion
}

// planned is the number of a pod and that of its node.
type planned struct{ pod, node int }

type opinion struct {
	fit.Verdict
	version int
}

// compare judges every pod of Incoming on every node with both judges, puts it
// where both agree that it may go, and judges the next; then all of them again
// in the full cluster, and once more with half of them taken back.
func compare(ctx context.Context, c *cluster) (result, error) {
	// What the scheduler logs of bad values is not a finding.
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.New(nil)))
	defer cancel()
	real, err := newScheduler(ctx, c)
	if err != nil {
		return result{}, err
	}
	x := &comparison{result: result{refused: map[string]int{}}, cluster: c, real: real, ours: newTidegate(c), said: map[planned]opinion{}}
	for i, pod := range c.Incoming {
		fitting := x.judge(ctx, i, fmt.Sprintf("after %d pods were placed", len(x.put)))
		if len(fitting) > 0 && x.disagreement == "" {
			if err := x.place(ctx, planned{i, fitting[hash(pod)%uint32(len(fitting))]}); err != nil {
				return x.result, err
			}
		}
	}
	x.disturb()
	again := x.canComeAgain()
	for _, i := range again {
		x.judge(ctx, i, "again, after all were placed")
	}
	if err := x.lift(ctx, (len(x.put)+1)/2); err != nil {
		return x.result, err
	}
	x.disturb()
	for _, i := range again {
		x.judge(ctx, i, fmt.Sprintf("again, after all but %d were taken back", len(x.put)))
	}
	return x.result, nil
}

// judge compares what both say of the pod on each node, and returns the nodes
// that both let it on.
func (x *comparison) judge(ctx context.Context, i int, when string) []int {
	verdicts, _ := x.real.judge(ctx, x.Incoming[i])
	var fitting []int
	for j, n := range x.Nodes {
		x.cases++
		plugin, _, _ := strings.Cut(verdicts[j], ":")
		ours := x.ours.world.Check(x.ours.places[j], x.ours.classes[i])
		if x.spreads(x.Incoming[i]) && (!isUnborn(n) || ours.Why != "") {
			continue
		}
		x.consistent(planned{i, j}, ours, when)
		switch {
		case ours.Why == "" && plugin == "":
			x.accepted++
			fitting = append(fitting, j)
		case plugin == "":
			x.disagree("Tidegate refuses", "%s on %s, %s: kube-scheduler accepts it, Tidegate says %q", x.Incoming[i].Name, n.Name, when, ours.Why)
		case ours.Why == "" && plugin == names.DynamicResources && x.ours.classes[i].Unjudged:
			x.refused["not judged"]++
		case ours.Why == "":
			x.disagree(plugin, "%s on %s, %s: kube-scheduler says %q, Tidegate accepts it", x.Incoming[i].Name, n.Name, when, verdicts[j])
		default:
			x.refused[plugin]++
		}
	}
	return fitting
}

// spreads reports whether the pod has to spread over machines that do not exist
// yet. Tidegate judges it by nodes that exist on these, while here the scheduler
// sees all of them; and on the others, where more may come beside them, it only
// must not accept what the scheduler refuses.
func (x *comparison) spreads(p *corev1.Pod) bool {
	hard := func(c corev1.TopologySpreadConstraint) bool { return c.WhenUnsatisfiable == corev1.DoNotSchedule }
	return slices.ContainsFunc(p.Spec.TopologySpreadConstraints, hard) && slices.ContainsFunc(x.Nodes, isUnborn)
}

// consistent holds what Tidegate says now against what it said before: a lasting
// refusal lasts, and another one ends with a new version.
func (x *comparison) consistent(p planned, now fit.Verdict, when string) {
	before, known := x.said[p]
	version := x.ours.world.Version(x.ours.classes[p.pod])
	x.said[p] = opinion{now, version}
	if !known || before.Why == "" || now.Why != "" {
		return
	}
	switch name := x.Incoming[p.pod].Name; {
	case before.Why == "too many volumes":
		// The scheduler counts a volume twice that is attached though no pod uses
		// it. A planned pod that does ends that.
	case before.Why == "a volume cannot be provisioned" && x.shares(p.pod):
		// Of its claims the scheduler binds the smallest first, which may take the
		// only volume that would do for another one. A planned pod that has the
		// smallest bound to a different volume ends that.
	case before.Lasting:
		x.disagree("Lasting", "%s on %s, %s: the refusal %q was to last", name, x.Nodes[p.node].Name, when, before.Why)
	case before.version == version:
		x.disagree("Version", "%s on %s, %s: the refusal %q ended without a new version", name, x.Nodes[p.node].Name, when, before.Why)
	}
}

// shares reports whether a claim of the pod is one of another pod's too.
func (x *comparison) shares(i int) bool {
	uses := func(p *corev1.Pod, claim string) bool {
		return p.Namespace == x.Incoming[i].Namespace && slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim
		})
	}
	return slices.ContainsFunc(x.Incoming[i].Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil && slices.ContainsFunc(x.put, func(p planned) bool {
			return p.pod != i && uses(x.Incoming[p.pod], v.PersistentVolumeClaim.ClaimName)
		})
	})
}

// place puts the pod on the node for both. If Tidegate says that others of its
// class need not be judged one by one, nothing but room may keep them off then.
func (x *comparison) place(ctx context.Context, p planned) error {
	if err := x.real.put(ctx, x.Incoming[p.pod], x.Nodes[p.node].Name); err != nil {
		return err
	}
	class, place := x.ours.classes[p.pod], x.ours.places[p.node]
	x.ours.world.Put(place, class, 1)
	x.put = append(x.put, p)
	if next := x.ours.world.Check(place, class); !x.ours.world.Tied(class) && next.Why != "" && next.Why != "resources" {
		x.disagree("Tied", "%s is not tied, but after it was put on %s a second one is refused: %s", x.Incoming[p.pod].Name, x.Nodes[p.node].Name, next.Why)
	}
	return nil
}

func (x *comparison) lift(ctx context.Context, n int) error {
	if err := x.real.lift(ctx, n); err != nil {
		return err
	}
	clear(x.said)
	for range n {
		last := x.put[len(x.put)-1]
		x.put = x.put[:len(x.put)-1]
		x.ours.world.Lift(x.ours.places[last.node], x.ours.classes[last.pod], 1)
	}
	return nil
}

// disturb plans machines and pods in Tidegate's world and takes all of it back,
// which must leave no trace.
func (x *comparison) disturb() {
	w := x.ours.world
	for i, n := range x.Nodes {
		shape := shapeOf(n, "", x.cluster)
		place := w.Add(fit.PlaceOf(&shape, "", shape.Allocatable, nil))
		var there []*fit.Class
		for _, class := range x.ours.classes[i%len(x.ours.classes):] {
			if w.Check(place, class).Why == "" {
				w.Put(place, class, 1)
				there = append(there, class)
			}
		}
		for _, class := range there {
			w.Lift(place, class, 1)
		}
		other := shapeOf(x.Nodes[len(x.Nodes)-1-i], "", x.cluster)
		w.Exchange(place, &other, other.Allocatable)
		for _, class := range x.ours.classes {
			w.Check(place, class)
		}
		w.Remove(place)
	}
}

// canComeAgain are the pods of which there could be a second one: not those
// that are placed and have a volume of their own.
func (x *comparison) canComeAgain() []int {
	var again []int
	for i, pod := range x.Incoming {
		owns := slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Ephemeral != nil })
		if !owns || !slices.ContainsFunc(x.put, func(p planned) bool { return p.pod == i }) {
			again = append(again, i)
		}
	}
	return again
}

// hash picks the node for a pod, the same one whatever else is in the cluster.
func hash(pod *corev1.Pod) uint32 {
	h := fnv.New32a()
	h.Write([]byte(pod.Name))
	return h.Sum32()
}
