package extender

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// trickle is a cluster of ten nodes with room for four pods each. Every minute a
// short pod arrives, so that about ten run at any time; a node that was empty for
// the idle time goes.
type trickle struct {
	names []string             // of the nodes
	empty map[string]time.Time // since when a node is
	pods  []*corev1.Pod        // that run, oldest first
	// extender hears of what happens as from an informer.
	extender *Extender
}

const (
	tricklePods = 10
	trickleRun  = tricklePods * time.Minute
	trickleIdle = 3 * time.Minute
)

func newTrickle(t *testing.T) *trickle {
	t.Helper()
	var all []*corev1.Node
	c := &trickle{empty: map[string]time.Time{}}
	for i := range 10 {
		n := newNode(fmt.Sprintf("n%d", i))
		c.names = append(c.names, n.Name)
		all = append(all, n)
	}
	c.extender = newExtender(t, all, nil)
	// The cluster is half empty at first.
	for i, name := range c.names {
		p := ownedBy(newPod("first-"+name), "batch/v1", "Job")
		c.start(p, name, noon.Add(time.Duration(i-tricklePods)*time.Minute))
	}
	return c
}

func (c *trickle) start(p *corev1.Pod, node string, now time.Time) {
	p.Spec.NodeName, p.Status.StartTime = node, &metav1.Time{Time: now}
	c.pods = append(c.pods, p)
	c.extender.Tenants.OnAdd(p, false)
}

// end lets the oldest pod succeed.
func (c *trickle) end(now time.Time) {
	ended := c.pods[0].DeepCopy()
	ended.Status.Phase = corev1.PodSucceeded
	ended.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(now)},
	}}}
	c.extender.Tenants.OnUpdate(c.pods[0], ended)
	c.pods = c.pods[1:]
}

// used is how much of the node's four cores is requested.
func (c *trickle) used(node string) int {
	n := 0
	for _, p := range c.pods {
		if p.Spec.NodeName == node {
			n++
		}
	}
	return n
}

// leastAllocated is what kube-scheduler's NodeResourcesFit gives the node by
// default for one more pod: the free part of it, up to 100. Source: Kubernetes
// documentation, "Resource Bin Packing".
func (c *trickle) leastAllocated(node string) int64 { return int64(100 * (4 - c.used(node) - 1) / 4) }

// after lets time pass and returns how many nodes are left. Scores are added to
// the scheduler's own.
func (c *trickle) after(total time.Duration, scores func(pod *corev1.Pod, names []string, now time.Time) []int64, hint string) int {
	for i := range int(total / time.Minute) {
		now := noon.Add(time.Duration(i) * time.Minute)
		for len(c.pods) > 0 && now.Sub(c.pods[0].Status.StartTime.Time) >= trickleRun {
			c.end(now)
		}
		var left []string
		for _, name := range c.names {
			switch since, empty := c.empty[name]; {
			case c.used(name) > 0:
				delete(c.empty, name)
			case !empty:
				c.empty[name] = now
			case now.Sub(since) >= trickleIdle:
				continue // it goes
			}
			left = append(left, name)
		}
		c.names = left

		pod := ownedBy(newPod(fmt.Sprintf("pod-%d", i)), "batch/v1", "Job")
		if hint != "" {
			pod.Annotations = map[string]string{api.ExpectedDurationAnnotation: hint}
		}
		var fitting []string
		for _, name := range c.names {
			if c.used(name) < 4 {
				fitting = append(fitting, name)
			}
		}
		best, chosen := int64(-1), ""
		for j, score := range scores(pod, fitting, now) {
			if score += c.leastAllocated(fitting[j]); score > best {
				best, chosen = score, fitting[j]
			}
		}
		c.start(pod, chosen, now)
	}
	return len(c.names)
}

// With a trickle of short pods a half-empty cluster empties, because prioritize
// sends them where others run longest anyway; the scheduler's own scores send
// each to the emptiest node, and so keep every node alive.
func TestAHalfEmptyClusterEmpties(t *testing.T) {
	// weight is that of the extender in manifests/k3s/scheduler.yaml; kube-scheduler
	// brings its scores to the plugins' scale, ten times as large.
	const weight = 10 * 10
	alone := func(_ *corev1.Pod, names []string, _ time.Time) []int64 { return make([]int64, len(names)) }
	for name, tc := range map[string]struct {
		extender bool
		hint     string
		most     int // nodes that are left
		least    int
	}{
		"kube-scheduler alone":                    {least: 10, most: 10},
		"with the extender, which learns":         {extender: true, least: 3, most: 3},
		"with the extender, run times are hinted": {extender: true, hint: trickleRun.String(), least: 3, most: 3},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTrickle(t)
			scores := alone
			if tc.extender {
				scores = func(pod *corev1.Pod, names []string, now time.Time) []int64 {
					c.extender.Now = func() time.Time { return now }
					out := make([]int64, len(names))
					for i, s := range c.extender.prioritize(pod, names) {
						out[i] = weight * s.Score
					}
					return out
				}
			}
			if left := c.after(4*time.Hour, scores, tc.hint); left < tc.least || left > tc.most {
				t.Errorf("%d nodes are left, want %d to %d: %d pods run, four fit on a node", left, tc.least, tc.most, len(c.pods))
			}
		})
	}
}
