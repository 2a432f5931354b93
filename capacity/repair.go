package capacity

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// failedTimeout is how long a machine that Azure could not provision, and that
	// does not run, is left before it is given up: Azure may mend it by itself.
	failedTimeout = 2 * time.Minute
	// creatingTimeout is how long Azure may take to create a machine before it is
	// given up: twice what a machine gets to boot and to join. Source: chosen; most
	// are created within two minutes, and Azure names no limit.
	creatingTimeout = 2 * JoinTimeout
	// repairMemory is how long a machine that was given up counts, and
	// repairsAtLeast how many may count at a time, beside one for each
	// machinesPerRepair of the pool's machines. An image that never joins so costs
	// a few machines an hour and not the budget.
	repairMemory      = time.Hour
	repairsAtLeast    = 4
	machinesPerRepair = 10
)

// Repair gives up a machine that was bought, or reimaged, and did not become a node.
type Repair struct {
	Pool     string
	Instance Instance
	// Why says why, in a few words for people.
	Why string
	// Report is true where the machine is only told of: it might join in the
	// moment of its deletion and be given work.
	Report bool
}

// broken says since when the machine should have been a ready node, and reports
// whether it is one that was watched since it was bought or reimaged and is none.
// "Never joined" is not "its Node was removed": of others nobody knows.
func (p *PoolState) broken(i Instance) (due time.Time, is bool) {
	since, is := p.Unjoined[i.VMID]
	if !is || since.IsZero() {
		return time.Time{}, false
	}
	switch i.State {
	case InstanceFailed:
		return since.Add(failedTimeout), true
	case InstanceRunning:
		return since.Add(JoinTimeout), true
	case InstanceCreating:
		return since.Add(creatingTimeout), true
	}
	return time.Time{}, false
}

// brokenWhy says what is wrong with a broken machine.
func (p *PoolState) brokenWhy(i Instance) string {
	since := p.Unjoined[i.VMID]
	switch {
	case i.State == InstanceFailed:
		return "Azure could not provision it"
	case i.State == InstanceCreating:
		return "Azure creates it since " + clock(since) + " and does not get done"
	case since.After(i.Created):
		return "it was reimaged at " + clock(since) + " and has not joined again"
	}
	return "it runs since " + clock(since) + " and has not joined"
}

// Broken returns the machines that were bought and should have become ready nodes by
// now.
func (p *PoolState) Broken(now time.Time) []Instance {
	var broken []Instance
	for _, i := range p.Instances {
		if due, is := p.broken(i); is && !now.Before(due) {
			broken = append(broken, i)
		}
	}
	slices.SortFunc(broken, func(a, b Instance) int { return strings.Compare(a.VMID, b.VMID) })
	return broken
}

// repairLimit is how many machines that do not become nodes the pool may have
// within an hour.
func (p *PoolState) repairLimit() int { return repairsAtLeast + p.Capacity/machinesPerRepair }

// RecentRepairs are the repairs that still count.
func (p *PoolState) RecentRepairs(now time.Time) []time.Time {
	i := slices.IndexFunc(p.Repairs, func(t time.Time) bool { return now.Before(t.Add(repairMemory)) })
	if i < 0 {
		return nil
	}
	return p.Repairs[i:]
}

// repairsLeft is how many machines of the pool may still be given up.
func (p *PoolState) repairsLeft(now time.Time) int {
	return max(0, p.repairLimit()-len(p.RecentRepairs(now)))
}

// Failing says why no machines are bought from the pool for the time being: too
// many of those that were bought did not become nodes. It is "" if that is not
// so. The time is when it ends by itself; zero if somebody has to act first.
// Machines that Azure could not provision count at once: while it may still mend
// them the same would become of others.
func (p *PoolState) Failing(now time.Time) (why string, until time.Time) {
	broken, recent := 0, p.RecentRepairs(now)
	for _, i := range p.Instances {
		if due, is := p.broken(i); is && (i.State == InstanceFailed || !now.Before(due)) {
			broken++
		}
	}
	over := broken + len(recent) - p.repairLimit()
	if over < 0 {
		return "", time.Time{}
	}
	why = fmt.Sprintf("%s did not become ready nodes within the last hour: look at their cloud-init, image and network", machines(broken+len(recent)))
	if over < len(recent) {
		until = recent[over].Add(repairMemory)
		why += ", next try " + until.UTC().Format("15:04 MST")
	}
	return why, until
}

// repair gives up machines that never joined, as many as may be. Those that did and
// never got ready are silent nodes.
func (p *planner) repair() {
	now := p.snapshot.Now
	var isNode map[string]bool // made for the first machine that is broken
	for _, po := range p.pools {
		if po.Refused != "" || !po.Listed || len(po.Unjoined) == 0 {
			continue
		}
		for _, i := range po.Instances {
			if due, is := po.broken(i); is {
				p.before(due)
			}
		}
		for _, i := range po.Broken(now) {
			if isNode == nil {
				isNode = p.nodesMachines()
			}
			if isNode[i.VMID] {
				continue
			}
			// Only what does not run cannot join in the moment of its deletion.
			r := Repair{Pool: po.Name, Instance: i, Why: po.brokenWhy(i), Report: !po.Tainted && i.State != InstanceFailed}
			if po.giveUps > 0 || r.Report {
				p.decision.Repairs = append(p.decision.Repairs, r)
			}
			if !r.Report {
				po.giveUps--
			}
		}
	}
}

// nodesMachines are the VMIDs of the machines that are nodes.
func (p *planner) nodesMachines() map[string]bool {
	machines := make(map[string]bool, len(p.snapshot.Nodes))
	for _, n := range p.snapshot.Nodes {
		machines[n.Instance.VMID] = true
	}
	return machines
}

// silent reports whether the node is not ready for so long that its machine is
// given up, and nothing is left on it: the cluster's own rules have taken what
// was there.
func (p *planner) silent(n *Node) bool {
	if n.Ready || n.SilentSince.IsZero() || len(p.holding(n)) > 0 {
		return false
	}
	return !p.before(n.SilentSince.Add(JoinTimeout))
}

// holding returns the pods that keep the node from being retired: its work. On a
// machine that Azure says is off nothing runs any more; there a pod that
// Kubernetes has taken, and whose end no kubelet can confirm, holds nothing.
func (p *planner) holding(n *Node) []*Pod {
	work := p.work(n)
	if !n.Instance.Off() || n.Ready {
		return work
	}
	return slices.DeleteFunc(work, func(pod *Pod) bool { return pod.Terminating })
}

// SilentText says what becomes of a silent node with work.
func SilentText(since time.Time, pods int) string {
	return fmt.Sprintf("silent since %s with pods on it (%d): Tidegate waits until Kubernetes has taken them, or Azure says that the machine is off or gone",
		clock(since), pods)
}
