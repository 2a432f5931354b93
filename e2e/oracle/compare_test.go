package oracle

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// result is what a comparison found.
type result struct {
	cases int
	// disagreement is "" if there was none, and rule the plugin that refused,
	// or "Tidegate" if only Tidegate did.
	disagreement, rule string
}

// compare judges every pod of Incoming on every node with both judges, puts it
// where both agree that it may go, and judges the next; then all of them again
// in the full cluster, and once more with half of them taken back.
func compare(ctx context.Context, c *cluster) (result, error) {
	var r result
	// What the scheduler logs of bad values is not a finding.
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.New(nil)))
	defer cancel()
	real, err := newScheduler(ctx, c)
	if err != nil {
		return r, err
	}
	ours := newTidegate(c)

	type planned struct{ pod, node int }
	var put []planned
	judge := func(i int, when string) []int {
		verdicts, _ := real.judge(ctx, c.Incoming[i])
		var fitting []int
		for j, n := range c.Nodes {
			r.cases++
			got := ours.world.Check(ours.places[j], ours.classes[i]).Why
			if r.disagreement == "" && (got == "") != (verdicts[j] == "") {
				r.disagreement = fmt.Sprintf("%s on %s, %s: kube-scheduler says %q, Tidegate says %q", c.Incoming[i].Name, n.Name, when, verdicts[j], got)
				r.rule, _, _ = strings.Cut(verdicts[j], ":")
				if r.rule == "" {
					r.rule = "Tidegate"
				}
			}
			if got == "" && verdicts[j] == "" {
				fitting = append(fitting, j)
			}
		}
		return fitting
	}
	for i, pod := range c.Incoming {
		fitting := judge(i, fmt.Sprintf("after %d pods were placed", len(put)))
		if r.disagreement != "" {
			return r, nil
		}
		if len(fitting) == 0 {
			continue
		}
		j := fitting[hash(pod)%uint32(len(fitting))]
		if err := real.put(ctx, pod, c.Nodes[j].Name); err != nil {
			return r, err
		}
		ours.world.Put(ours.places[j], ours.classes[i], 1)
		put = append(put, planned{i, j})
	}
	// A pod that has a volume of its own cannot be there a second time.
	again := slices.DeleteFunc(slices.Clone(put), func(p planned) bool {
		return !slices.ContainsFunc(c.Incoming[p.pod].Spec.Volumes, func(v corev1.Volume) bool { return v.Ephemeral != nil })
	})
	judgeAll := func(when string) {
		for i := range c.Incoming {
			if !slices.ContainsFunc(again, func(p planned) bool { return p.pod == i }) {
				judge(i, when)
			}
		}
	}
	judgeAll("again, after all were placed")
	half := (len(put) + 1) / 2
	if err := real.lift(ctx, half); err != nil {
		return r, err
	}
	for range half {
		last := put[len(put)-1]
		put = put[:len(put)-1]
		ours.world.Lift(ours.places[last.node], ours.classes[last.pod], 1)
	}
	judgeAll(fmt.Sprintf("again, after all but %d were taken back", len(put)))
	return r, nil
}

// hash picks the node for a pod, the same one whatever else is in the cluster.
func hash(pod *corev1.Pod) uint32 {
	h := fnv.New32a()
	h.Write([]byte(pod.Name))
	return h.Sum32()
}
