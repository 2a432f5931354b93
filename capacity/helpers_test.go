package capacity

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

const (
	idleAfter = 5 * time.Minute
	settle    = time.Minute
	gpu       = corev1.ResourceName("nvidia.com/gpu")
)

var now = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// snapshot is one of a cluster in which time stands still.
func snapshot(pools []PoolState, nodes []*Node, pods ...Pod) Snapshot {
	s := Snapshot{Now: now, Settle: settle, Pools: pools, Nodes: nodes}
	s.SetPods(pointers(pods))
	return s
}

func pointers[T any](list []T) []*T {
	var out []*T
	for i := range list {
		out = append(out, &list[i])
	}
	return out
}

// story tells a decision in a line for each part of it, in a fixed order.
func story(d Decision) []string {
	var lines []string
	for _, r := range d.Releases {
		switch {
		case r.Node == "":
			lines = append(lines, fmt.Sprintf("release %s without room", r.Pod.Name))
		default:
			lines = append(lines, fmt.Sprintf("release %s to %s", r.Pod.Name, r.Node))
		}
	}
	for _, g := range d.Grows {
		lines = append(lines, fmt.Sprintf("grow %s from %d to %d", g.Pool, g.From, g.To))
	}
	for _, s := range d.Steps {
		line := fmt.Sprintf("%s %s", s.Kind, s.Node)
		if s.Rescue {
			line += " as a rescue"
		}
		if s.Unproved {
			line += " as unproved"
		}
		if s.Failed {
			line += " as failed"
		}
		if s.Repair {
			line += " as a repair"
		}
		lines = append(lines, line)
	}
	for _, r := range d.Protections {
		lines = append(lines, fmt.Sprintf("protect %s: %t", strings.TrimPrefix(r.Instance.VMID, "vm-"), r.Protect))
	}
	for _, r := range d.Repairs {
		verb := "give up"
		if r.Report {
			verb = "report"
		}
		lines = append(lines, fmt.Sprintf("%s %s", verb, strings.TrimPrefix(r.Instance.VMID, "vm-")))
	}
	for _, e := range d.Evictions {
		lines = append(lines, fmt.Sprintf("evict %s from %s", e.Pod.Name, e.Node))
	}
	for _, a := range d.Approvals {
		lines = append(lines, fmt.Sprintf("approve %s through %s for %s", a.Interruption.ID, a.Node, strings.Join(a.Nodes, " ")))
	}
	for _, r := range d.Reasons {
		lines = append(lines, fmt.Sprintf("%s waits: %s", r.Pod.Name, r.Code))
	}
	return lines
}

// scenarios are situations and what is promised to happen in each of them.
type scenarios map[string]struct {
	in   Snapshot
	want []string
}

func (table scenarios) run(t *testing.T) {
	t.Helper()
	for name, tc := range table {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, story(Plan(tc.in))); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func cpus(n float64) fit.Resources {
	return fit.Resources{MilliCPU: int64(n * 1000), Memory: int64(n * (1 << 30)), Pods: 1}
}

func machineOf(n float64) fit.Resources {
	r := cpus(n)
	r.Pods = 110
	return r
}

var compiler = fit.NewCompiler()

// classOf returns the one class with these scheduling fields.
func classOf(r fit.Resources, pool string, selector map[string]string, tolerations ...corev1.Toleration) *fit.Class {
	requests := r.List()
	delete(requests, corev1.ResourcePods)
	return compiler.Class(&corev1.Pod{Spec: corev1.PodSpec{
		Containers:   []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: requests}}},
		NodeSelector: selector,
		Tolerations:  tolerations,
	}}, pool)
}

// pod is a batch pod of one's own that waits at the gate.
func pod(name string, cpu float64, changes ...func(*Pod)) Pod {
	p := Pod{
		Key: types.NamespacedName{Namespace: "work", Name: name}, UID: types.UID("uid-" + name),
		Class: classOf(cpus(cpu), "", nil), Gated: true, Created: now.Add(-time.Minute),
	}
	for _, change := range changes {
		change(&p)
	}
	return p
}

func on(node string) func(*Pod) {
	return func(p *Pod) { p.Node, p.Gated, p.Bound = node, false, now.Add(-time.Hour) }
}

func boundAgo(d time.Duration) func(*Pod) { return func(p *Pod) { p.Bound = now.Add(-d) } }
func endsIn(d time.Duration) func(*Pod)   { return func(p *Pod) { p.Ends = now.Add(d) } }
func aged(d time.Duration) func(*Pod)     { return func(p *Pod) { p.Created = now.Add(-d) } }
func priority(n int32) func(*Pod)         { return func(p *Pod) { p.Priority = n } }
func maxWait(d time.Duration) func(*Pod)  { return func(p *Pod) { p.MaxWait = d } }
func of(w Work) func(*Pod)                { return func(p *Pod) { p.Work = w } }
func class(c *fit.Class) func(*Pod)       { return func(p *Pod) { p.Class = c } }
func othersGate(p *Pod)                   { p.OthersGate = true }
func ungated(p *Pod)                      { p.Gated = false }
func unschedulable(p *Pod)                { p.Gated, p.Unschedulable = false, true }

func released(node string) func(*Pod) {
	return func(p *Pod) { p.Gated, p.Released, p.Nominated = false, true, node }
}

func gang(name string, size int) func(*Pod) {
	return func(p *Pod) { p.Gang, p.GangSize = name, size }
}

// poolOf is a pool of 8 CPU machines that was asked for so many; those that are
// there are added by running and machine.
func poolOf(name string, capacity int, changes ...func(*PoolState)) PoolState {
	idle := idleAfter
	p := PoolState{
		Pool: Pool{
			Name: name, Capacity: capacity,
			Settings: api.PoolSettings{Max: 10, IdleAfter: &idle},
		},
		Listed: true, BootTime: 80 * time.Second,
		Shape: &fit.Shape{Labels: map[string]string{api.PoolLabel: name}, Allocatable: machineOf(8)},
	}
	for _, change := range changes {
		change(&p)
	}
	return p
}

func pools(p ...PoolState) []PoolState { return p }
func nodes(n ...Node) []*Node          { return pointers(n) }

func bounds(low, high int) func(*PoolState) {
	return func(p *PoolState) { p.Settings.Min, p.Settings.Max = low, high }
}

func costs(price float64) func(*PoolState) {
	return func(p *PoolState) { p.Settings.PricePerHour = price }
}

func offering(r fit.Resources, taints ...corev1.Taint) func(*PoolState) {
	return func(p *PoolState) { p.Shape.Allocatable, p.Shape.Taints = r, taints }
}

func refused(why string) func(*PoolState) { return func(p *PoolState) { p.Refused = why } }

func away(d time.Duration, why string) func(*PoolState) {
	return func(p *PoolState) { p.AwayUntil, p.AwayReason = now.Add(d), why }
}

// running adds instances that run, one for each name.
func running(names ...string) func(*PoolState) {
	return func(p *PoolState) {
		for _, name := range names {
			p.Instances = append(p.Instances, instance(name))
		}
	}
}

// machine adds an instance in some state.
func machine(i Instance) func(*PoolState) {
	return func(p *PoolState) { p.Instances = append(p.Instances, i) }
}

func instance(name string) Instance {
	return Instance{ID: "id-" + name, Name: "agents_" + name, VMID: "vm-" + name, ComputerName: strings.ToUpper(name), State: InstanceRunning, Created: now.Add(-2 * time.Hour)}
}

// node is a ready and adopted machine of pool agents.
func node(name string, changes ...func(*Node)) Node {
	n := Node{
		Name: name, UID: types.UID("uid-" + name), Pool: "agents", Instance: instance(name), Recorded: "vm-" + name,
		Shape: fit.Shape{Labels: map[string]string{api.PoolLabel: "agents", corev1.LabelHostname: name}, Allocatable: machineOf(8)},
		Ready: true, Created: now.Add(-time.Hour),
	}
	for _, change := range changes {
		change(&n)
	}
	return n
}

func marked(n *Node) { n.Retirement = &api.Retirement{Since: metav1.NewTime(now.Add(-time.Hour))} }

func emptyFor(d time.Duration) func(*Node) {
	return func(n *Node) {
		marked(n)
		since := metav1.NewTime(now.Add(-d))
		n.Retirement.EmptySince = &since
	}
}

// fencedAfter makes a node that is empty for so long and fenced.
func fencedAfter(empty time.Duration) func(*Node) {
	return func(n *Node) {
		emptyFor(empty)(n)
		n.Fence = "token"
		n.Taints = append(slices.Clone(n.Taints), api.FenceTaint())
	}
}

func fencedAgo(d time.Duration) func(*Node) {
	return func(n *Node) {
		at := metav1.NewTime(now.Add(-d))
		n.Retirement.FencedAt = &at
	}
}

func proved(ago time.Duration) func(*Node) {
	return func(n *Node) { n.Proving, n.Proved = now.Add(-ago), now.Add(-ago) }
}

func proving(ago time.Duration) func(*Node) { return func(n *Node) { n.Proving = now.Add(-ago) } }

func committed(n *Node) {
	fencedAfter(time.Hour)(n)
	n.Deleting = n.Recorded
}

func held(d time.Duration) func(*Node) { return func(n *Node) { n.HoldUntil = now.Add(d) } }
func notReady(n *Node)                 { n.Ready = false }
func keep(n *Node)                     { n.Keep = "annotation keep" }
func requested(n *Node)                { n.Requested = api.FateDelete }
func unmapped(n *Node)                 { n.Instance = Instance{} }
func notAdopted(n *Node)               { n.Recorded = "" }
func outside(n *Node)                  { n.Pool, n.Instance, n.Recorded = "", Instance{}, "" }
func young(n *Node)                    { n.Created = now.Add(-time.Minute) }

func state(s InstanceState) func(*Node) { return func(n *Node) { n.Instance.State = s } }

func tainted(taints ...corev1.Taint) func(*Node) {
	return func(n *Node) { n.Taints = append(slices.Clone(n.Taints), taints...) }
}

func labelled(key, value string) func(*Node) {
	return func(n *Node) {
		n.Labels = maps.Clone(n.Labels)
		n.Labels[key] = value
	}
}
