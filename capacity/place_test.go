package capacity

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

func TestMoneyIsTheLastResort(t *testing.T) {
	agents := func(names ...string) PoolState { return poolOf("agents", len(names), running(names...)) }
	scenarios{
		"a pod that fits on a ready node is released there": {
			in:   snapshot(pools(agents("n1")), nodes(node("n1")), pod("a", 2)),
			want: []string{"release a to n1"},
		},
		"a ready node is used before a marked one": {
			in:   snapshot(pools(agents("n1", "n2")), nodes(node("n1", marked), node("n2")), pod("a", 2), pod("old", 1, on("n1"))),
			want: []string{"release a to n2"},
		},
		"a mark is taken back before a machine is bought, and the pod waits for that": {
			in:   snapshot(pools(agents("n1")), nodes(node("n1", marked)), pod("a", 2)),
			want: []string{"unmark n1 as a rescue", "a waits: NodeTakenBack"},
		},
		"a marked node without room is not taken back": {
			in:   snapshot(pools(agents("n1")), nodes(node("n1", marked)), pod("old", 7, on("n1")), pod("a", 2)),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing"},
		},
		"a mark is taken back before a fence": {
			in: snapshot(pools(agents("n1", "n2")), nodes(node("n1", fencedAfter(idleAfter-settle)), node("n2", marked)),
				pod("old", 1, on("n2")), pod("a", 2)),
			want: []string{"prove n1", "unmark n2 as a rescue", "a waits: NodeTakenBack"},
		},
		"a fence is taken back before a machine is bought": {
			in:   snapshot(pools(agents("n1")), nodes(node("n1", fencedAfter(idleAfter-settle), proved(time.Second))), pod("a", 2)),
			want: []string{"unfence n1 as a rescue", "a waits: NodeTakenBack"},
		},
		"a node whose deletion is committed is never taken back": {
			in:   snapshot(pools(agents("n1")), nodes(node("n1", committed)), pod("a", 2)),
			want: []string{"grow agents from 1 to 2", "delete n1", "a waits: MachinesComing"},
		},
		"machines on their way are used before new ones": {
			in:   snapshot(pools(poolOf("agents", 1)), nil, pod("a", 4), pod("b", 4)),
			want: []string{"a waits: MachinesComing", "b waits: MachinesComing"},
		},
		"only what the machines on their way cannot carry is bought": {
			in:   snapshot(pools(poolOf("agents", 1)), nil, pod("a", 4), pod("b", 4), pod("c", 4)),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing", "b waits: MachinesComing", "c waits: MachinesComing"},
		},
		"capacity without a machine is not counted on once the cloud has done": {
			in:   snapshot(pools(poolOf("agents", 1, func(p *PoolState) { p.Settled = true })), nil, pod("a", 4)),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing"},
		},
		"a marked node that is silent is not counted on": {
			in:   snapshot(pools(agents("n1")), nodes(node("n1", marked, notReady)), pod("a", 2)),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing"},
		},
		"a fenced node that is silent is not counted on": {
			in:   snapshot(pools(agents("n1")), nodes(node("n1", fencedAfter(time.Hour), notReady)), pod("a", 2)),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing"},
		},
		"a mark on a node that nobody would take it from is no place": {
			in:   snapshot(pools(agents()), nodes(node("server", outside, marked)), pod("a", 2)),
			want: []string{"grow agents from 0 to 1", "a waits: MachinesComing"},
		},
		"a machine that somebody else deletes gets no pod": {
			in:   snapshot(pools(poolOf("agents", 0)), nodes(node("n1", state(InstanceDeleting))), pod("a", 2)),
			want: []string{"grow agents from 0 to 1", "a waits: MachinesComing"},
		},
	}.run(t)
}

func TestOnlyWhatFitsIsReleased(t *testing.T) {
	one := pools(poolOf("agents", 1, running("n1"), bounds(0, 1)))
	tolerant := classOf(cpus(1), "", nil, corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists})
	selects := func(value string) *fit.Class { return classOf(cpus(1), "", map[string]string{"disk": value}) }
	taint := corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}
	scenarios{
		"as many as there is room for": {
			in:   snapshot(one, nodes(node("n1")), pod("a", 3), pod("b", 3), pod("c", 3)),
			want: []string{"release a to n1", "release b to n1", "c waits: PoolAtMaximum"},
		},
		"a smaller pod may use room that a larger one cannot": {
			in:   snapshot(one, nodes(node("n1")), pod("a", 5), pod("b", 5), pod("c", 2)),
			want: []string{"release a to n1", "release c to n1", "b waits: PoolAtMaximum"},
		},
		"in another order if all fit then": {
			in: snapshot(pools(poolOf("agents", 2, running("n1", "n2"), bounds(0, 2))), nodes(node("n1"), node("n2")),
				pod("old", 1, on("n1")), pod("older", 4, on("n2")), pod("a", 4, aged(time.Minute)), pod("b", 7)),
			want: []string{"release a to n2", "release b to n1"},
		},
		"what runs on the node counts": {
			in:   snapshot(one, nodes(node("n1")), pod("old", 6, on("n1")), pod("a", 3)),
			want: []string{"a waits: PoolAtMaximum"},
		},
		"what was released and is not bound yet holds its place": {
			in:   snapshot(one, nodes(node("n1")), pod("old", 6, released("n1")), pod("a", 3)),
			want: []string{"a waits: PoolAtMaximum"},
		},
		"DaemonSet pods that are yet to start on the node count": {
			in: func() Snapshot {
				s := snapshot(one, nodes(node("n1")), pod("a", 8))
				s.Daemons = []*fit.Class{classOf(cpus(0.1), "", nil)}
				return s
			}(),
			want: []string{"mark n1", "a waits: NoPoolFits"},
		},
		"a DaemonSet pod that runs there already is not counted twice": {
			in: func() Snapshot {
				s := snapshot(one, nodes(node("n1")), pod("d", 1, on("n1"), of(Daemon)), pod("a", 7))
				s.Daemons = []*fit.Class{classOf(cpus(1), "", nil)}
				return s
			}(),
			want: []string{"release a to n1"},
		},
		"higher priority goes first": {
			in:   snapshot(one, nodes(node("n1")), pod("a", 5), pod("b", 5, priority(1))),
			want: []string{"release b to n1", "a waits: PoolAtMaximum"},
		},
		"of equal priority the older goes first": {
			in:   snapshot(one, nodes(node("n1")), pod("a", 5), pod("b", 5, aged(time.Hour))),
			want: []string{"release b to n1", "a waits: PoolAtMaximum"},
		},
		"a node with a taint takes only pods that tolerate it": {
			in:   snapshot(one, nodes(node("n1", tainted(taint))), pod("a", 1), pod("b", 1, class(tolerant))),
			want: []string{"release b to n1", "a waits: PoolAtMaximum"},
		},
		"a selector is honoured": {
			in: snapshot(one, nodes(node("n1", labelled("disk", "ssd"))),
				pod("a", 1, class(selects("hdd"))), pod("b", 1, class(selects("ssd")))),
			want: []string{"release b to n1", "a waits: NoPoolFits"},
		},
		"a pod that asks for a pool gets no other node": {
			in:   snapshot(one, nodes(node("server", outside), node("n1")), pod("a", 1, class(classOf(cpus(1), "Agents", nil)))),
			want: []string{"release a to n1"},
		},
		"a node outside every pool is as good as another": {
			in:   snapshot(one, nodes(node("server", outside), node("n1")), pod("a", 1)),
			want: []string{"release a to server", "mark n1"},
		},
		"a pod with gates of others is neither released nor bought for": {
			in:   snapshot(pools(poolOf("agents", 0)), nodes(node("server", outside)), pod("a", 1, othersGate)),
			want: []string{"a waits: OtherGates"},
		},
		"a pod that never opted in is left alone": {
			in:   snapshot(pools(poolOf("agents", 0)), nil, pod("a", 1, ungated)),
			want: nil,
		},
	}.run(t)
}

func TestPodsBeyondTheGate(t *testing.T) {
	scenarios{
		"a released pod whose node went away is bought for, not released again": {
			in:   snapshot(pools(poolOf("agents", 0)), nil, pod("a", 2, released("gone"))),
			want: []string{"grow agents from 0 to 1"},
		},
		"the place of a released pod is its own before the pools are read": {
			in: func() Snapshot {
				n := node("n1")
				n.Pool, n.Instance = "agents", Instance{}
				s := snapshot(nil, nodes(n), pod("a", 6, released("n1"), class(classOf(cpus(6), "agents", nil))), pod("b", 4))
				s.PoolsUnknown = "not read yet"
				return s
			}(),
			want: []string{"b waits: PoolsUnknown"},
		},
		"a released pod takes back the mark of the node it is on its way to": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", marked)), pod("a", 2, released("n1"))),
			want: []string{"unmark n1 as a rescue"},
		},
		"a node that a released pod is on its way to is not marked": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1")), pod("a", 2, released("n1"))),
			want: nil,
		},
		"a pod that never had a gate takes a mark back": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", marked)), pod("a", 2, unschedulable)),
			want: []string{"unmark n1 as a rescue"},
		},
		"a pod that never had a gate buys nothing": {
			in:   snapshot(pools(poolOf("agents", 0)), nil, pod("a", 2, unschedulable)),
			want: nil,
		},
		"nor does it hold a machine on its way, which was bought for others": {
			in:   snapshot(pools(poolOf("agents", 1)), nil, pod("a", 5, unschedulable, priority(1)), pod("b", 5)),
			want: []string{"b waits: MachinesComing"},
		},
		"a DaemonSet pod without room takes nothing back": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", emptyFor(0))), pod("a", 2, unschedulable, of(Daemon))),
			want: nil,
		},
		"a pod whose longest wait is over is released without room": {
			in:   snapshot(pools(poolOf("agents", 0, bounds(0, 0))), nil, pod("a", 2, maxWait(time.Minute))),
			want: []string{"release a without room"},
		},
		"with room it is released towards a node as ever": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1")), pod("a", 2, maxWait(time.Minute))),
			want: []string{"release a to n1"},
		},
	}.run(t)
}

func TestStartingNodes(t *testing.T) {
	startup := tainted(corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule})
	withGPU := machineOf(8)
	withGPU.Scalar = map[corev1.ResourceName]int64{gpu: 1}
	needsGPU := cpus(1)
	needsGPU.Scalar = map[corev1.ResourceName]int64{gpu: 1}
	labelSelected := classOf(cpus(1), "", map[string]string{api.PoolLabel: "agents"})
	unlabelled := func(n *Node) { n.Labels = map[string]string{} }
	agents := poolOf("agents", 1, running("n1"))
	scenarios{
		"a node that has just joined is counted on before it is ready": {
			in:   snapshot(pools(agents), nodes(node("n1", young, notReady, notAdopted)), pod("a", 2)),
			want: []string{"a waits: MachinesComing"},
		},
		"also while its startup taints stand": {
			in:   snapshot(pools(agents), nodes(node("n1", young, startup, notAdopted)), pod("a", 2)),
			want: []string{"a waits: MachinesComing"},
		},
		"also until its devices are registered": {
			in: snapshot(pools(poolOf("agents", 1, running("n1"), offering(withGPU))), nodes(node("n1", young, notAdopted)),
				pod("a", 2, class(classOf(needsGPU, "", nil)))),
			want: []string{"a waits: MachinesComing"},
		},
		"a node that stays silent after it joined is given up": {
			in:   snapshot(pools(agents), nodes(node("n1", notReady, notAdopted)), pod("a", 2)),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing"},
		},
		"a ready node is adopted and used at once": {
			in:   snapshot(pools(agents), nodes(node("n1", young, notAdopted)), pod("a", 2)),
			want: []string{"release a to n1", "adopt n1"},
		},
		"no second machine is bought because the pool's label is not on the node yet": {
			in:   snapshot(pools(agents), nodes(node("n1", young, notAdopted, unlabelled)), pod("a", 1, class(labelSelected))),
			want: []string{"adopt n1", "a waits: OthersFirst"},
		},
		"a machine that never joined is not counted on": {
			in:   snapshot(pools(agents), nil, pod("a", 2)),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing"},
		},
		"a machine that failed is not counted on": {
			in:   snapshot(pools(poolOf("agents", 1, machine(Instance{VMID: "x", State: InstanceFailed, Created: now}))), nil, pod("a", 2)),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing"},
		},
		"a machine that goes is not counted, neither as there nor as coming": {
			in:   snapshot(pools(poolOf("agents", 0, machine(Instance{VMID: "x", State: InstanceDeleting, Created: now}))), nil, pod("a", 2)),
			want: []string{"grow agents from 0 to 1", "a waits: MachinesComing"},
		},
	}.run(t)
}

func TestNextLook(t *testing.T) {
	joining := instance("n1")
	joining.Created = now.Add(-5 * time.Minute)
	for name, tc := range map[string]struct {
		in   Snapshot
		want time.Duration // 0 for never
	}{
		"nothing changes by time alone": {in: snapshot(pools(poolOf("agents", 0)), nil), want: 0},
		"when the longest wait ends": {
			in:   snapshot(pools(poolOf("agents", 0, bounds(0, 0))), nil, pod("a", 1, aged(time.Minute), maxWait(3*time.Minute))),
			want: 2 * time.Minute,
		},
		"when the pool may be asked again": {
			in:   snapshot(pools(poolOf("agents", 0, away(30*time.Second, "quota"))), nil, pod("a", 1)),
			want: 30 * time.Second,
		},
		"when the empty node is to be fenced": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", emptyFor(time.Minute)))),
			want: idleAfter - settle - time.Minute,
		},
		"when the fence has settled": {
			in: snapshot(pools(poolOf("agents", 1, running("n1"))),
				nodes(node("n1", fencedAfter(time.Hour), proved(20*time.Second)))),
			want: settle - 20*time.Second,
		},
		"when the node may be marked": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1")), pod("a", 1, on("n1"), boundAgo(2*time.Minute))),
			want: idleAfter - 2*time.Minute,
		},
		"when a failed step may be tried again": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", held(time.Second)))),
			want: time.Second,
		},
		"when a machine is given up": {
			in:   snapshot(pools(poolOf("agents", 1, machine(joining))), nil),
			want: 10 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var want time.Time
			if tc.want > 0 {
				want = now.Add(tc.want)
			}
			if diff := cmp.Diff(want, Plan(tc.in).NextLook); diff != "" {
				t.Errorf("next look (-want +got):\n%s", diff)
			}
		})
	}
}
