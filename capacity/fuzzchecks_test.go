package capacity

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// checkReleases recounts what is on each node with the pods released to it.
func checkReleases(t *testing.T, s Snapshot, d Decision) {
	pods := map[types.UID]*Pod{}
	for _, p := range allPods(s) {
		pods[p.UID] = p
	}
	nodes := map[string]*Node{}
	for _, n := range s.Nodes {
		nodes[n.Name] = n
	}
	touched := map[string][]*Pod{}
	for _, r := range d.Releases {
		p := pods[r.UID]
		if !p.Gated || p.OthersGate {
			t.Errorf("released %s, which does not wait at the gate alone", r.Pod)
		}
		if r.Node == "" {
			if p.MaxWait == 0 || now.Before(p.Created.Add(p.MaxWait)) {
				t.Errorf("released %s without room before its longest wait", r.Pod)
			}
			continue
		}
		n := nodes[r.Node]
		if !n.Ready || n.Retirement != nil || n.Fence != "" || n.Deleting != "" {
			t.Errorf("released %s to %s, which is not ready or retires", r.Pod, r.Node)
		}
		if why := n.Shape.Admits(p.Class, n.Name); why != "" {
			t.Errorf("released %s to %s, which keeps it off: %s", r.Pod, r.Node, why)
		}
		touched[r.Node] = append(touched[r.Node], p)
	}
	for name, list := range touched {
		for _, p := range allPods(s) {
			if p.Node == name {
				list = append(list, p)
			}
		}
		var used fit.Resources
		needs := map[corev1.ResourceName]bool{}
		for _, p := range list {
			used = used.Add(p.Class.Requests)
		}
		// Only what a released pod asks for must fit: the rest may have been
		// overcommitted before.
		for _, p := range touched[name] {
			r := p.Class.Requests
			needs[corev1.ResourceCPU] = needs[corev1.ResourceCPU] || r.MilliCPU > 0
			needs[corev1.ResourceMemory] = needs[corev1.ResourceMemory] || r.Memory > 0
			needs[corev1.ResourcePods] = true
			for k := range r.Scalar {
				needs[k] = true
			}
		}
		for _, k := range slices.Sorted(maps.Keys(needs)) {
			if needs[k] && used.Amount(k) > nodes[name].Allocatable.Amount(k) {
				t.Errorf("node %s would carry %d of %s and has %d", name, used.Amount(k), k, nodes[name].Allocatable.Amount(k))
			}
		}
	}
}

// checkGangs: whoever is released with room takes its whole gang along.
func checkGangs(t *testing.T, s Snapshot, d Decision) {
	roomy := map[types.UID]bool{}
	for _, r := range d.Releases {
		roomy[r.UID] = r.Node != ""
	}
	for _, p := range allPods(s) {
		if p.Gang == "" || !roomy[p.UID] {
			continue
		}
		for _, other := range allPods(s) {
			if other.Gang == p.Gang && other.Gated && !other.OthersGate && other.Work.IsWork() && !roomy[other.UID] {
				t.Errorf("gang %s: %s is released without %s", p.Gang, p.Key, other.Key)
			}
		}
	}
}

func checkGrows(t *testing.T, s Snapshot, d Decision) {
	seen := map[string]bool{}
	for _, g := range d.Grows {
		po := find(s.Pools, g.Pool)
		switch {
		case seen[g.Pool]:
			t.Errorf("%s grows twice", g.Pool)
		case g.From != po.Capacity || g.To <= g.From:
			t.Errorf("%s grows from %d to %d and has %d", g.Pool, g.From, g.To, po.Capacity)
		case g.To > po.Settings.Max:
			t.Errorf("%s grows to %d beyond its maximum of %d", g.Pool, g.To, po.Settings.Max)
		case po.Growing || !po.Listed || po.Refused != "" || now.Before(po.AwayUntil):
			t.Errorf("%s grows although it must not now: %+v", g.Pool, po)
		}
		seen[g.Pool] = true
	}
	checkSpending(t, s, d)
}

// checkSpending: what is bought keeps to the limits and to each pool's quota.
func checkSpending(t *testing.T, s Snapshot, d Decision) {
	machines, price := 0, 0.0
	for i := range s.Pools {
		if po := &s.Pools[i]; po.Refused == "" {
			paid := po.Capacity
			for _, i := range po.Instances {
				if i.Deallocated {
					paid--
				}
			}
			machines += paid
			price += float64(paid) * po.Settings.PricePerHour
		}
	}
	started := 0
	for _, step := range d.Steps {
		if step.Kind == StepStart {
			if n := s.Nodes[slices.IndexFunc(s.Nodes, func(n *Node) bool { return n.Name == step.Node })]; !n.startedAgain() {
				started++
			}
			machines++
			price += find(s.Pools, strings.ToLower(step.Pool)).Settings.PricePerHour
		}
	}
	vcpus, left := 0, 0
	for i := range s.Pools {
		if po := &s.Pools[i]; po.Family != "" && po.Headroom != nil {
			left = max(left, *po.Headroom*po.VCPUs)
		}
	}
	for _, g := range d.Grows {
		po, n := find(s.Pools, g.Pool), g.To-g.From
		machines += n
		price += float64(n) * po.Settings.PricePerHour
		if po.Headroom != nil && n > *po.Headroom {
			t.Errorf("%d machines of %s, whose quota allows %d", n, po.Name, *po.Headroom)
		}
		if po.Family != "" && po.Headroom != nil {
			vcpus += n * po.VCPUs
		}
	}
	switch {
	case len(d.Grows)+started == 0:
	case s.Limits.Machines > 0 && machines > s.Limits.Machines:
		t.Errorf("%d machines in all, and the limit is %d", machines, s.Limits.Machines)
	case s.Limits.HourlyPrice > 0 && price > s.Limits.HourlyPrice:
		t.Errorf("%g an hour in all, and the limit is %g", price, s.Limits.HourlyPrice)
	case vcpus > left:
		t.Errorf("%d vCPUs of a family of which %d are left", vcpus, left)
	}
}

func checkSteps(t *testing.T, s Snapshot, d Decision) {
	nodes := map[string]*Node{}
	work := map[string]bool{}
	for _, n := range s.Nodes {
		nodes[n.Name] = n
	}
	for _, p := range allPods(s) {
		work[p.Node] = work[p.Node] || p.Work.IsWork()
	}
	released := map[string]bool{}
	for _, r := range d.Releases {
		released[r.Node] = true
	}
	seen := map[string]bool{}
	for _, step := range d.Steps {
		n := nodes[step.Node]
		if seen[n.Name] {
			t.Errorf("two steps for %s", n.Name)
		}
		seen[n.Name] = true
		if now.Before(n.HoldUntil) {
			t.Errorf("%s %s although it is held back", step.Kind, n.Name)
		}
		po := find(s.Pools, strings.ToLower(n.Pool))
		certain := po != nil && po.Refused == "" && n.Instance.VMID != "" && n.Recorded == n.Instance.VMID
		// What Azure takes in any case is fenced with work on it, whoever keeps it.
		taken := certain && len(n.Interruptions) > 0 && (step.Kind == StepFence || step.Kind == StepProve)
		retirable := certain && n.Keep == "" || taken
		switch step.Kind {
		case StepMark, StepRecordEmpty, StepFence, StepProve, StepCommit, StepDelete:
			if !retirable {
				t.Errorf("%s %s, which must be left alone", step.Kind, n.Name)
			}
		case StepUnmark, StepUnfence, StepRecordBusy:
			if n.Deleting != "" {
				t.Errorf("%s %s, whose deletion is committed", step.Kind, n.Name)
			}
		}
		switch step.Kind {
		case StepMark:
			if released[n.Name] {
				t.Errorf("mark %s and release pods to it", n.Name)
			}
		case StepFence, StepProve, StepCommit:
			if work[n.Name] && !taken {
				t.Errorf("%s %s with work on it", step.Kind, n.Name)
			}
		case StepDelete:
			if n.Deleting != n.Instance.VMID || step.Instance.VMID != n.Deleting || n.Fence == "" {
				t.Errorf("delete %s without commitment or fence", n.Name)
			}
		}
		if step.Kind == StepCommit && (n.Proved.IsZero() || now.Before(n.Proved.Add(s.Settle))) {
			t.Errorf("commit %s without a settled proof", n.Name)
		}
	}
}

// checkReasons: whoever stays at the gate is told why, and nobody else is.
func checkReasons(t *testing.T, s Snapshot, d Decision) {
	want, got := map[types.UID]int{}, map[types.UID]int{}
	for _, p := range allPods(s) {
		if p.Gated && p.Node == "" && (p.OthersGate || p.Work.IsWork()) {
			want[p.UID] = 1
		}
	}
	for _, r := range d.Releases {
		delete(want, r.UID)
	}
	for _, r := range d.Reasons {
		got[r.UID]++
		if r.Text == "" || r.Code == "" {
			t.Errorf("%s is told nothing", r.Pod)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pods that are told why they wait (-want +got):\n%s", diff)
	}
}
