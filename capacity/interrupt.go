package capacity

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
)

// Approval lets an interruption happen before its time, because all machines
// that it covers are empty.
type Approval struct {
	Interruption api.Interruption
	// Node is the one whose agent is to pass it on.
	Node string
	UID  types.UID
	// Nodes are those of all machines that the interruption covers.
	Nodes []string
}

// evictionMargin is what the way of an eviction to the kubelet may take beside
// the pod's grace period.
const evictionMargin = 5 * time.Second

// interruptions returns what is announced for the node's machine. A node's
// report counts only for its own machine: nobody can have another node emptied.
// On doubt which machine it is, nothing counts.
func (p *planner) interruptions(n *Node) []api.Interruption {
	if len(n.Interruptions) == 0 {
		return nil
	}
	if po := p.poolOf(n); po == nil || po.Refused != "" || !n.mapped() {
		return nil
	}
	var found []api.Interruption
	for _, i := range n.Interruptions {
		if i.Covers(n.Instance.Name) && p.before(i.CountsUntil()) {
			found = append(found, i)
		}
	}
	return found
}

// interrupted decides for a node whose machine Azure is about to take or to
// restart, and reports whether it is one. This is the one place where running
// pods are evicted: they would not survive anyway.
func (p *planner) interrupted(n *Node) bool {
	announced := p.interruptions(n)
	if len(announced) == 0 {
		if len(n.Approved) == 0 {
			return false
		}
		p.step(n, Step{Kind: StepForgetApproval, Why: "what was approved is over"})
		return true
	}
	first := slices.MinFunc(announced, func(a, b api.Interruption) int { return a.NotBefore.Compare(b.NotBefore.Time) })
	why := first.String()
	switch {
	case n.Fence == "":
		p.step(n, Step{Kind: StepFence, Why: why})
	case n.Proved.IsZero():
		p.step(n, Step{Kind: StepProve, Why: "fenced"})
	}
	for _, pod := range p.leaving(n, announced, first.NotBefore.Time) {
		p.decision.Evictions = append(p.decision.Evictions, Eviction{Pod: pod.Key, UID: pod.UID, Node: n.Name, Why: why})
	}
	return true
}

// leaving returns the pods to evict now, those that have run longest last. A
// pod that will end by itself in time is left to it. So is one that nobody
// would make anew, if its machine comes back.
func (p *planner) leaving(n *Node, announced []api.Interruption, at time.Time) []*Pod {
	returns := !slices.ContainsFunc(announced, func(i api.Interruption) bool { return !api.Returns(i.Type) })
	pods := slices.DeleteFunc(p.work(n), func(pod *Pod) bool {
		inTime := pod.Ends.Before(at.Add(-pod.Grace - evictionMargin))
		return pod.Terminating || returns && !pod.Owned || inTime && p.before(pod.Ends)
	})
	slices.SortStableFunc(pods, func(a, b *Pod) int { return b.Bound.Compare(a.Bound) })
	return pods
}

// approve lets those interruptions happen now whose machines are all empty.
func (p *planner) approve() {
	if !slices.ContainsFunc(p.noted, func(b *bin) bool { return len(b.node.Interruptions) > 0 }) {
		return
	}
	byMachine := map[string]*Node{}
	type report struct {
		interruption api.Interruption
		nodes        []*Node
	}
	var reports []*report
	for _, n := range p.snapshot.Nodes {
		if n.mapped() && n.Instance.Name != "" {
			byMachine[strings.ToLower(n.Instance.Name)] = n
		}
		for _, i := range p.interruptions(n) {
			at := slices.IndexFunc(reports, func(r *report) bool { return r.interruption.Same(i) })
			if at < 0 {
				at = len(reports)
				reports = append(reports, &report{interruption: i})
			}
			reports[at].nodes = append(reports[at].nodes, n)
		}
	}
	slices.SortFunc(reports, func(a, b *report) int { return cmp.Compare(a.interruption.ID, b.interruption.ID) })
	for _, r := range reports {
		told := slices.IndexFunc(r.nodes, func(n *Node) bool { return n.Ready })
		if told < 0 || slices.ContainsFunc(r.nodes[told].Approved, r.interruption.Same) || p.before(r.nodes[told].HoldUntil) {
			continue
		}
		approval := Approval{Interruption: r.interruption, Node: r.nodes[told].Name, UID: r.nodes[told].UID}
		for _, machine := range r.interruption.Resources {
			if n := byMachine[strings.ToLower(machine)]; n != nil && p.vacated(n, r.interruption) {
				approval.Nodes = append(approval.Nodes, n.Name)
			}
		}
		if len(approval.Nodes) == len(r.interruption.Resources) {
			p.decision.Approvals = append(p.decision.Approvals, approval)
		}
	}
}

// vacated reports whether nothing is on the node and nothing can come to it:
// its own deletion or restart is committed, or its fence is proved, has settled, and the
// node is empty. Where the interruption comes before the fence has settled
// there is nothing to wait for: a pod that is still on its way has no chance.
func (p *planner) vacated(n *Node, i api.Interruption) bool {
	if n.Fence == "" {
		return false
	}
	if n.Deleting != "" {
		return n.Deleting == n.Recorded
	}
	if n.Restart != nil {
		return n.Restart.VMID == n.Recorded
	}
	if n.Proved.IsZero() || len(p.work(n)) > 0 {
		return false
	}
	settled := n.Proved.Add(p.snapshot.Settle)
	return !settled.Before(i.NotBefore.Time) || !p.before(settled)
}
