package capacity

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

func deallocating(p *PoolState) { p.Settings.Deallocate = true }

// turnedOff adds the deallocated machines of such nodes.
func turnedOff(names ...string) func(*PoolState) { return deallocatedAs(InstanceStopped, names) }

// notStarted adds those of nodes that Azure could not start.
func notStarted(names ...string) func(*PoolState) { return deallocatedAs(InstanceFailed, names) }

func deallocatedAs(state InstanceState, names []string) func(*PoolState) {
	return func(p *PoolState) {
		for _, name := range names {
			i := instance(name)
			i.State, i.Deallocated = state, true
			p.Instances = append(p.Instances, i)
		}
	}
}

// off makes a node whose machine was retired by deallocating it.
func off(n *Node) {
	restarts(api.FateDeallocate, time.Hour)(n)
	carriedOut(time.Hour)(n)
	n.Requested, n.Ready, n.Instance.State, n.Instance.Deallocated = "", false, InstanceStopped, true
}

// failedStart makes it one that Azure could not start, for which it shows another state.
func failedStart(n *Node) {
	off(n)
	n.Instance.State = InstanceFailed
}

// startedAgo makes it one that is being started again.
func startedAgo(d time.Duration) func(*Node) {
	return func(n *Node) {
		off(n)
		r, at := *n.Restart, metav1.NewTime(now.Add(-d))
		r.Started, n.Restart = &at, &r
	}
}

// A pool may keep its machines deallocated instead of deleting them, and then
// starts them before it buys one.
func TestDeallocated(t *testing.T) {
	one := pools(poolOf("agents", 1, deallocating, running("n1")))
	none := pools(poolOf("agents", 1, deallocating, turnedOff("n1"), bounds(0, 3)))
	two := func(changes ...func(*PoolState)) []PoolState {
		return pools(poolOf("agents", 2, append(changes, deallocating, turnedOff("n1", "n2"))...))
	}
	scenarios{
		"the end of a retirement": {in: snapshot(one, nodes(node("n1", fencedAfter(idleAfter), proved(settle)))), want: []string{"commit n1"}},
		"then it is deallocated":  {in: snapshot(one, nodes(node("n1", restarts(api.FateDeallocate, 0)))), want: []string{"restart n1"}},
		"it stays off while nobody needs it": {
			in: snapshot(none, nodes(node("n1", off))), want: nil,
		},
		"it is started before one is bought": {
			in: snapshot(none, nodes(node("n1", off)), pod("a", 1)), want: []string{"start n1", "a waits: MachinesComing"},
		},
		"also at the pool's maximum": {
			in:   snapshot(two(bounds(0, 2)), nodes(node("n1", off), node("n2", off)), pod("a", 1)),
			want: []string{"start n1", "a waits: MachinesComing"},
		},
		"and only then one is bought": {
			in:   snapshot(none, nodes(node("n1", off)), pod("a", 8), pod("b", 8)),
			want: []string{"grow agents from 1 to 2", "start n1", "a waits: MachinesComing", "b waits: MachinesComing"},
		},
		"it counts against the maximum": {
			in:   snapshot(pools(poolOf("agents", 1, deallocating, turnedOff("n1"), bounds(0, 1))), nodes(node("n1", off)), pod("a", 8), pod("b", 8)),
			want: []string{"start n1", "a waits: MachinesComing", "b waits: PoolAtMaximum"},
		},
		"for the minimum": {
			in: snapshot(two(bounds(1, 3)), nodes(node("n1", off), node("n2", off))), want: []string{"start n1"},
		},
		"while it starts it is counted on": {
			in: snapshot(one, nodes(node("n1", startedAgo(time.Minute), state(InstanceRunning))), pod("a", 1)), want: []string{"a waits: MachinesComing"},
		},
		"a start that was lost is repeated": {
			in: snapshot(none, nodes(node("n1", startedAgo(time.Minute)))), want: []string{"start n1"},
		},
		"a pool that refused to start it is left alone": {
			in: snapshot(pools(poolOf("agents", 1, deallocating, turnedOff("n1"), away(time.Minute, "no room"))), nodes(node("n1", off)), pod("a", 1)), want: []string{"a waits: PoolRefused"},
		},
		"and another one is asked": {
			in:   snapshot(pools(poolOf("agents", 1, deallocating, turnedOff("n1"), away(time.Minute, "no room")), poolOf("other", 0)), nodes(node("n1", off)), pod("a", 1)),
			want: []string{"grow other from 0 to 1", "a waits: MachinesComing"},
		},
		"it is back": {
			in:   snapshot(one, nodes(node("n1", startedAgo(time.Minute), state(InstanceRunning), inRun("after"), func(n *Node) { n.Ready = true })), pod("a", 1)),
			want: []string{"return n1", "a waits: MachinesComing"},
		},
		"it does not come back": {
			in: snapshot(one, nodes(node("n1", startedAgo(restartTimeout), state(InstanceRunning), proved(settle)))), want: []string{"commit n1 as failed as a repair"},
		},
		"nobody counts on it any more": {
			in:   snapshot(one, nodes(node("n1", startedAgo(restartTimeout), state(InstanceRunning))), pod("a", 1)),
			want: []string{"grow agents from 1 to 2", "prove n1", "a waits: MachinesComing"},
		},
		"one that Azure could not start is started again": {
			in:   snapshot(pools(poolOf("agents", 1, deallocating, notStarted("n1"), bounds(0, 1))), nodes(node("n1", failedStart)), pod("a", 1)),
			want: []string{"start n1", "a waits: MachinesComing"},
		},
		"also for the minimum": {
			in: snapshot(pools(poolOf("agents", 1, deallocating, notStarted("n1"), bounds(1, 1))), nodes(node("n1", failedStart))), want: []string{"start n1"},
		},
		"or deleted if an operator wants that": {
			in:   snapshot(pools(poolOf("agents", 1, deallocating, notStarted("n1"))), nodes(node("n1", failedStart, requested, proved(settle)))),
			want: []string{"commit n1"},
		},
		"and then no pod holds it that Kubernetes has taken": {
			in: snapshot(pools(poolOf("agents", 1, deallocating, notStarted("n1"))),
				nodes(node("n1", failedStart, requested, proved(settle), fencedAgo(time.Minute))), pod("taken", 1, on("n1"), dying)),
			want: []string{"commit n1"},
		},
		"somebody keeps it off": {
			in: snapshot(none, nodes(node("n1", off, keep)), pod("a", 1)), want: []string{"grow agents from 1 to 2", "a waits: MachinesComing"},
		},
		"an operator wants it restarted: a start does that": {
			in:   snapshot(none, nodes(node("n1", off, func(n *Node) { n.Requested = api.FateRestart })), pod("a", 1)),
			want: []string{"start n1", "a waits: MachinesComing"},
		},
		"an operator wants it deleted: its fence is proved anew": {
			in: snapshot(none, nodes(node("n1", off, requested))), want: []string{"prove n1"},
		},
		"and its deletion committed": {
			in: snapshot(none, nodes(node("n1", off, requested, proved(settle)))), want: []string{"commit n1"},
		},
		"but not while somebody keeps it": {
			in: snapshot(none, nodes(node("n1", off, requested, keep, proved(settle)))), want: nil,
		},
		"nor with a pod on it": {
			in:   snapshot(none, nodes(node("n1", off, requested, proved(settle))), pod("late", 1, on("n1"))),
			want: []string{"evict late from n1"},
		},
		"a pod that Kubernetes has taken from it holds nothing": {
			in:   snapshot(none, nodes(node("n1", off, requested, proved(settle), fencedAgo(time.Minute))), pod("taken", 1, on("n1"), dying)),
			want: []string{"commit n1"},
		},
		"the pool's way has changed": {
			in: snapshot(pools(poolOf("agents", 1, turnedOff("n1"))), nodes(node("n1", off, proved(settle)))), want: []string{"commit n1"},
		},
	}.run(t)
}

// A deallocated machine costs no money, and takes its quota all the while.
func TestWhatDeallocatedMachinesTake(t *testing.T) {
	waits := []Pod{pod("a", 8), pod("b", 8)}
	limited := func(l Limits, s Snapshot) Snapshot { s.Limits = l; return s }
	noQuota := func(p *PoolState) { p.Headroom, p.Family, p.VCPUs = new(int), "D", 8 }
	two := func(changes ...func(*PoolState)) []PoolState {
		return pools(poolOf("agents", 2, append(changes, deallocating, turnedOff("n1", "n2"))...))
	}
	both := nodes(node("n1", off), node("n2", off))
	one := nodes(node("n1", off), node("n2", startedAgo(time.Second)))
	scenarios{
		"not of the machines that may run": {
			in:   limited(Limits{Machines: 1}, snapshot(two(), both, waits...)),
			want: []string{"start n1", "a waits: MachinesComing", "b waits: SpendingLimit"},
		},
		"not of the money": {
			in:   limited(Limits{HourlyPrice: 1}, snapshot(two(costs(1)), both, waits...)),
			want: []string{"start n1", "a waits: MachinesComing", "b waits: SpendingLimit"},
		},
		"nor one that Azure could not start": {
			in:   limited(Limits{Machines: 1}, snapshot(pools(poolOf("agents", 1, deallocating, notStarted("n1"))), nodes(node("n1", failedStart)), waits...)),
			want: []string{"start n1", "a waits: MachinesComing", "b waits: SpendingLimit"},
		},
		"one that is about to start is paid for": {
			in:   limited(Limits{Machines: 1}, snapshot(two(), one, waits...)),
			want: []string{"start n2", "a waits: MachinesComing", "b waits: SpendingLimit"},
		},
		"one that was only shut down is paid for": {
			in: limited(Limits{Machines: 1}, snapshot(pools(poolOf("agents", 1, machine(func() Instance {
				i := instance("n1")
				i.State = InstanceStopped
				return i
			}()))), nodes(node("n1", notReady, state(InstanceStopped))), waits...)),
			want: []string{"a waits: SpendingLimit", "b waits: SpendingLimit"},
		},
		"no more of the quota when it starts": {
			in:   snapshot(two(noQuota), both, append(waits, pod("c", 8))...),
			want: []string{"start n1", "start n2", "a waits: MachinesComing", "b waits: MachinesComing", "c waits: QuotaUsedUp"},
		},
	}.run(t)
}

// Of the deallocated machines the one is started whose zone a waiting pod needs.
func TestStartsInTheRightZone(t *testing.T) {
	zonal := func(p *PoolState) {
		p.Zones = []string{"west-1", "west-2", "west-3"}
		p.Shape.Labels[corev1.LabelTopologyZone] = "west-1"
		for i := range p.Instances {
			p.Instances[i].Zone = p.Zones[i]
		}
	}
	in := func(zone string) func(*Node) {
		return func(n *Node) { off(n); n.Instance.Zone = zone }
	}
	selects := func(name, zone string) Pod {
		return pod(name, 8, class(classOf(cpus(8), "", map[string]string{corev1.LabelTopologyZone: zone})))
	}
	three := func(changes ...func(*PoolState)) []PoolState {
		return pools(poolOf("agents", 3, append([]func(*PoolState){deallocating, turnedOff("n1", "n2", "n3"), zonal}, changes...)...))
	}
	all := nodes(node("n1", in("west-1")), node("n2", in("west-2")), node("n3", in("west-3")))
	two := nodes(node("n1", in("west-1")), node("n2", in("west-2")), node("n3", notReady, state(InstanceDeleting)))
	scenarios{
		"it alone": {in: snapshot(three(), all, selects("a", "west-3")), want: []string{"start n3", "a waits: MachinesComing"}},
		"the first one if the pod does not mind": {
			in: snapshot(three(), all, pod("a", 8)), want: []string{"start n1", "a waits: MachinesComing"},
		},
		"each in its zone": {
			in:   snapshot(three(), all, selects("a", "west-3"), selects("b", "west-2")),
			want: []string{"start n2", "start n3", "a waits: MachinesComing", "b waits: MachinesComing"},
		},
		"a second one for the zone is bought, where Azure puts it": {
			in:   snapshot(three(), all, selects("a", "west-1"), selects("b", "west-1")),
			want: []string{"grow agents from 3 to 4", "start n1", "a waits: MachinesComing", "b waits: MachinesComing"},
		},
		"one of another zone does not help": {
			in:   snapshot(three(bounds(0, 3)), two, selects("a", "west-3")),
			want: []string{"a waits: PoolAtMaximum"},
		},
		"nor does it keep one from being bought": { // the first one comes in west-1
			in: snapshot(pools(poolOf("agents", 2, deallocating, turnedOff("n1"), running("n2"), zonal, func(p *PoolState) { p.Zones = p.Zones[:2] })),
				nodes(node("n1", in("west-1")), node("n2", func(n *Node) { n.Instance.Zone, n.Labels[corev1.LabelTopologyZone] = "west-2", "west-2" })),
				pod("old", 8, on("n2")), selects("a", "west-2")),
			want: []string{"grow agents from 2 to 4", "a waits: MachinesComing"},
		},
		"for the minimum any": {in: snapshot(three(bounds(1, 3)), all), want: []string{"start n1"}},
	}.run(t)
}

// What becomes of a machine is the pool's way, unless it is no good.
func TestFateOf(t *testing.T) {
	for name, tc := range map[string]struct {
		changes []func(*Node)
		pool    PoolState
		want    api.Fate
	}{
		"deleted as a rule":               {pool: poolOf("agents", 1), want: api.FateDelete},
		"deallocated as the tag says":     {pool: poolOf("agents", 1, deallocating), want: api.FateDeallocate},
		"deleted on request all the same": {pool: poolOf("agents", 1, deallocating), changes: []func(*Node){requested}, want: api.FateDelete},
		"deleted while Azure does not deallocate": {
			pool: poolOf("agents", 1, deallocating, func(p *PoolState) { p.DeletesUntil = now.Add(time.Second) }), want: api.FateDelete,
		},
		"and no longer":               {pool: poolOf("agents", 1, deallocating, func(p *PoolState) { p.DeletesUntil = now }), want: api.FateDeallocate},
		"an outdated one is deleted":  {pool: poolOf("agents", 1, deallocating), changes: []func(*Node){oldModel}, want: api.FateDelete},
		"a silent one is deleted":     {pool: poolOf("agents", 1, deallocating), changes: []func(*Node){silentFor(JoinTimeout)}, want: api.FateDelete},
		"an operator's wish is first": {pool: poolOf("agents", 1, deallocating), changes: []func(*Node){asksFor(api.FateRestart)}, want: api.FateRestart},
	} {
		t.Run(name, func(t *testing.T) {
			running("n1")(&tc.pool)
			n := node("n1", append([]func(*Node){fencedAfter(time.Hour), proved(settle)}, tc.changes...)...)
			d := Plan(snapshot(pools(tc.pool), nodes(n)))
			if len(d.Steps) != 1 || d.Steps[0].Kind != StepCommit || d.Steps[0].Fate != tc.want {
				t.Errorf("steps %+v, want a commitment to %s", d.Steps, tc.want)
			}
		})
	}
}
