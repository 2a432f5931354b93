package capacity

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// bought adds machines in that state, bought so long ago, that were watched and
// are no nodes.
func bought(s InstanceState, ago time.Duration, names ...string) func(*PoolState) {
	return func(p *PoolState) {
		for _, name := range names {
			i := instance(name)
			i.State, i.Created = s, now.Add(-ago)
			p.Instances = append(p.Instances, i)
			if p.Unjoined == nil {
				p.Unjoined = map[string]time.Time{}
			}
			p.Unjoined[i.VMID] = i.Created
		}
	}
}

// reimagedAgo lets a machine that runs for long have been reimaged.
func reimagedAgo(d time.Duration, name string) func(*PoolState) {
	return func(p *PoolState) {
		i := instance(name)
		p.Instances = append(p.Instances, i)
		p.Unjoined = map[string]time.Time{i.VMID: now.Add(-d)}
	}
}

func joinTainted(p *PoolState) { p.Tainted = true }
func unwatched(p *PoolState)   { p.Unjoined = nil }

func repaired(ago ...time.Duration) func(*PoolState) {
	return func(p *PoolState) {
		for _, d := range ago {
			p.Repairs = append(p.Repairs, now.Add(-d))
		}
	}
}

func silentFor(d time.Duration) func(*Node) {
	return func(n *Node) { n.Ready, n.SilentSince = false, now.Add(-d) }
}

// neverReady is the node of a machine that joined at once and has not got ready.
func neverReady(name string) Node {
	return node(name, notAdopted, func(n *Node) { n.Created = now.Add(-JoinTimeout) }, silentFor(JoinTimeout))
}

func dying(p *Pod) { p.Terminating = true }

// A machine that was bought and does not become a node is given up, if nothing
// can go wrong with that.
func TestRepair(t *testing.T) {
	in := func(n int, changes ...func(*PoolState)) Snapshot {
		return snapshot(pools(poolOf("agents", n, changes...)), nil)
	}
	scenarios{
		"it never joined": {
			in: in(1, joinTainted, bought(InstanceRunning, JoinTimeout, "m1")), want: []string{"give up m1"},
		},
		"it may still join": {in: in(1, joinTainted, bought(InstanceRunning, JoinTimeout-time.Second, "m1")), want: nil},
		"where it could get work in that moment it is only told of": {
			in: in(1, bought(InstanceRunning, JoinTimeout, "m1")), want: []string{"report m1"},
		},
		"perhaps its Node was removed": {
			in: in(1, joinTainted, bought(InstanceRunning, JoinTimeout, "m1"), unwatched), want: nil,
		},
		"Azure could not provision it": {
			in: in(1, bought(InstanceFailed, failedTimeout, "m1")), want: []string{"give up m1"},
		},
		"but may yet": {in: in(1, bought(InstanceFailed, failedTimeout-time.Second, "m1")), want: nil},
		"it is still being created": {
			in: in(1, joinTainted, bought(InstanceCreating, creatingTimeout-time.Second, "m1")), want: nil,
		},
		"it is being created for ever": {
			in: in(1, joinTainted, bought(InstanceCreating, creatingTimeout, "m1")), want: []string{"give up m1"},
		},
		"it is being created for ever, and could get work in the moment that it joins": {
			in: in(1, bought(InstanceCreating, creatingTimeout, "m1")), want: []string{"report m1"},
		},
		"it did not join again after its reimage": {
			in: in(1, joinTainted, reimagedAgo(JoinTimeout, "m1")), want: []string{"give up m1"},
		},
		"it may still join after its reimage": {in: in(1, joinTainted, reimagedAgo(JoinTimeout-time.Second, "m1")), want: nil},
		"it did not join again, and could get work in the moment that it does": {
			in: in(1, reimagedAgo(JoinTimeout, "m1")), want: []string{"report m1"},
		},
		"it goes already": {in: in(0, joinTainted, bought(InstanceDeleting, time.Hour, "m1")), want: nil},
		"not in a pool that must not be managed": {
			in: in(1, joinTainted, refused("it is Flexible"), bought(InstanceRunning, time.Hour, "m1")), want: nil,
		},
		"so many at a time": {
			in:   in(6, joinTainted, bought(InstanceRunning, time.Hour, "m1", "m2", "m3", "m4", "m5", "m6")),
			want: []string{"give up m1", "give up m2", "give up m3", "give up m4"},
		},
		"those of the last hour count": {
			in:   in(2, joinTainted, repaired(2*time.Hour, 59*time.Minute, 30*time.Minute, time.Minute), bought(InstanceRunning, time.Hour, "m1", "m2")),
			want: []string{"give up m1"},
		},
		"a large pool may have more of them": {
			in:   in(20, joinTainted, bought(InstanceRunning, time.Hour, "m1", "m2", "m3", "m4", "m5", "m6", "m7")),
			want: []string{"give up m1", "give up m2", "give up m3", "give up m4", "give up m5", "give up m6"},
		},
	}.run(t)
}

// Demand counts on what may still become a node, and for no longer.
func TestWhatDoesNotComeIsNotWaitedFor(t *testing.T) {
	unlisted := func(machines int) func(*PoolState) { return func(p *PoolState) { p.Unlisted = machines } }
	waiting := pod("a", 1)
	coming, another := []string{"a waits: MachinesComing"}, []string{"grow agents from 1 to 2", "a waits: MachinesComing"}
	in := func(changes ...func(*PoolState)) Snapshot {
		return snapshot(pools(poolOf("agents", 1, changes...)), nil, waiting)
	}
	scenarios{
		"it is being created":                      {in: in(bought(InstanceCreating, JoinTimeout-time.Second, "m1")), want: coming},
		"it is being created for too long":         {in: in(bought(InstanceCreating, JoinTimeout, "m1")), want: another},
		"it was reimaged and joins anew":           {in: in(reimagedAgo(JoinTimeout-time.Second, "m1")), want: coming},
		"it was reimaged and does not come":        {in: in(reimagedAgo(JoinTimeout, "m1"), joinTainted), want: append([]string{another[0], "give up m1"}, coming...)},
		"Azure has not listed it yet":              {in: in(), want: coming},
		"Azure does not list it":                   {in: in(unlisted(1)), want: another},
		"it counts against the pool's maximum yet": {in: in(unlisted(1), bounds(0, 1)), want: []string{"a waits: PoolAtMaximum"}},
	}.run(t)
}

// An image that never joins costs a few machines an hour, whatever waits.
func TestBrokenImageDoesNotBurnMoney(t *testing.T) {
	waiting := pod("a", 1)
	buys := func(changes ...func(*PoolState)) Snapshot {
		return snapshot(pools(poolOf("agents", 3, changes...)), nil, waiting)
	}
	scenarios{
		"another machine is bought": {
			in:   buys(joinTainted, bought(InstanceRunning, JoinTimeout, "m1", "m2", "m3")),
			want: []string{"grow agents from 3 to 4", "give up m1", "give up m2", "give up m3", "a waits: MachinesComing"},
		},
		"and not a fourth time": {
			in:   buys(joinTainted, bought(InstanceRunning, JoinTimeout, "m1", "m2", "m3"), repaired(time.Minute)),
			want: []string{"give up m1", "give up m2", "give up m3", "a waits: MachinesDoNotJoin"},
		},
		"also where they are only told of": {
			in:   buys(bought(InstanceRunning, JoinTimeout, "m1", "m2", "m3"), repaired(time.Minute)),
			want: []string{"report m1", "report m2", "report m3", "a waits: MachinesDoNotJoin"},
		},
		"those that Azure could not provision count at once": {
			in:   buys(joinTainted, bought(InstanceFailed, 0, "m1", "m2", "m3", "m4")),
			want: []string{"a waits: MachinesDoNotJoin"},
		},
		"so do those that join and never get ready": {
			in: snapshot(pools(poolOf("agents", 4, bought(InstanceRunning, JoinTimeout, "m1", "m2", "m3", "m4"))),
				nodes(neverReady("m1"), neverReady("m2"), neverReady("m3"), neverReady("m4")), waiting),
			want: []string{"adopt m1", "adopt m2", "adopt m3", "adopt m4", "a waits: MachinesDoNotJoin"},
		},
		"not for the minimum either": {
			in:   snapshot(pools(poolOf("agents", 0, bounds(2, 9), repaired(4*time.Minute, 3*time.Minute, 2*time.Minute, time.Minute))), nil),
			want: nil,
		},
		"until an hour is over": {
			in:   snapshot(pools(poolOf("agents", 0, repaired(time.Hour, 3*time.Minute, 2*time.Minute, time.Minute))), nil, waiting),
			want: []string{"grow agents from 0 to 1", "a waits: MachinesComing"},
		},
	}.run(t)
}

func TestFailing(t *testing.T) {
	const look = ": look at their cloud-init, image and network"
	for name, tc := range map[string]struct {
		pool  PoolState
		why   string
		until time.Time
	}{
		"all is well": {pool: poolOf("agents", 1)},
		"a few are not enough": {
			pool: poolOf("agents", 3, bought(InstanceRunning, JoinTimeout, "m1", "m2"), repaired(time.Minute)),
		},
		"given up within the hour: it ends by itself": {
			pool:  poolOf("agents", 0, repaired(50*time.Minute, 40*time.Minute, 30*time.Minute, 20*time.Minute, 10*time.Minute)),
			why:   "5 machines did not become ready nodes within the last hour" + look + ", next try 12:20 UTC",
			until: now.Add(20 * time.Minute),
		},
		"still there: somebody has to act": {
			pool: poolOf("agents", 4, bought(InstanceRunning, JoinTimeout, "m1", "m2", "m3", "m4")),
			why:  "4 machines did not become ready nodes within the last hour" + look,
		},
	} {
		t.Run(name, func(t *testing.T) {
			why, until := tc.pool.Failing(now)
			if diff := cmp.Diff(tc.why, why); diff != "" {
				t.Errorf("why (-want +got):\n%s", diff)
			}
			if !until.Equal(tc.until) {
				t.Errorf("until %s, want %s", until, tc.until)
			}
		})
	}
}

// A silent node is waited for as long as anything may run there.
func TestSilentNodes(t *testing.T) {
	one := pools(poolOf("agents", 1, running("n1")))
	is := func(changes ...func(*Node)) []*Node { return nodes(node("n1", changes...)) }
	scenarios{
		"with work on it: wait": {
			in: snapshot(one, is(silentFor(24*time.Hour)), pod("work", 1, on("n1"))), want: nil,
		},
		"marked, with work on it: wait": {
			in: snapshot(one, is(marked, silentFor(24*time.Hour)), pod("work", 1, on("n1"))), want: nil,
		},
		"Kubernetes has asked its pods to end, and no kubelet confirms it: wait": {
			in: snapshot(one, is(marked, silentFor(24*time.Hour)), pod("work", 1, on("n1"), dying)), want: nil,
		},
		"Kubernetes has taken them: go on": {
			in: snapshot(one, is(silentFor(JoinTimeout))), want: []string{"mark n1"},
		},
		"only DaemonSet pods are left: go on": {
			in: snapshot(one, is(silentFor(JoinTimeout)), pod("lb", 1, on("n1"), of(Daemon))), want: []string{"mark n1"},
		},
		"not before it had time to come back": {
			in: snapshot(one, is(silentFor(JoinTimeout-time.Second))), want: nil,
		},
		"it goes through the fence, and does not idle": {
			in: snapshot(one, is(silentFor(JoinTimeout), emptyFor(0))), want: []string{"fence n1"},
		},
		"to its deletion": {
			in: snapshot(one, is(silentFor(JoinTimeout), fencedAfter(time.Minute), proved(settle))), want: []string{"commit n1 as a repair"},
		},
		"on request of an operator it counts against no bound": {
			in: snapshot(one, is(silentFor(JoinTimeout), requested, fencedAfter(time.Minute), proved(settle))), want: []string{"commit n1"},
		},
		"Azure says that the machine is off: go on": {
			in:   snapshot(one, is(marked, silentFor(JoinTimeout), state(InstanceStopped)), pod("work", 1, on("n1"), dying)),
			want: []string{"record-empty n1"},
		},
		"off, but Kubernetes has not given the pods up: wait": {
			in:   snapshot(one, is(marked, silentFor(JoinTimeout), state(InstanceStopped)), pod("work", 1, on("n1"))),
			want: nil,
		},
		"it never became ready: it is recorded first": {
			in: snapshot(one, is(silentFor(JoinTimeout), notAdopted)), want: []string{"adopt n1"},
		},
		"kept":                    {in: snapshot(one, is(silentFor(24*time.Hour), keep)), want: nil},
		"nobody knows since when": {in: snapshot(one, is(notReady)), want: nil},
		"no more at a time than may be given up within an hour": {
			in: snapshot(pools(poolOf("agents", 6, running("n1", "n2", "n3", "n4", "n5", "n6"))), nodes(node("n1", silentFor(time.Hour)), node("n2", silentFor(time.Hour)),
				node("n3", silentFor(time.Hour)), node("n4", silentFor(time.Hour)), node("n5", silentFor(time.Hour)), node("n6", silentFor(time.Hour)))),
			want: []string{"mark n1", "mark n2", "mark n3", "mark n4"},
		},
		"those that go already count": {
			in: snapshot(pools(poolOf("agents", 5, running("n1", "n2", "n3", "n4", "n5"))), nodes(node("n1", silentFor(time.Hour), emptyFor(0)), node("n2", silentFor(time.Hour), fencedAfter(0)),
				node("n3", silentFor(time.Hour), marked), node("n4", silentFor(time.Hour)), node("n5", silentFor(time.Hour)))),
			want: []string{"fence n1", "prove n2", "record-empty n3", "mark n4"},
		},
		"no more than may be given up within an hour": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"), repaired(4*time.Minute, 3*time.Minute, 2*time.Minute, time.Minute))), is(silentFor(24*time.Hour))),
			want: nil,
		},
	}.run(t)
}

// The startup taint is lifted with the adoption, and before that nothing is
// released towards the node.
func TestStartupTaint(t *testing.T) {
	starting := tainted(corev1.Taint{Key: api.StartupTaint, Effect: corev1.TaintEffectNoSchedule})
	network := tainted(corev1.Taint{Key: corev1.TaintNodeNetworkUnavailable, Effect: corev1.TaintEffectNoSchedule})
	one := pools(poolOf("agents", 1, running("n1"), bounds(0, 1)))
	scenarios{
		"a ready node is adopted": {
			in:   snapshot(one, nodes(node("n1", young, notAdopted, starting)), pod("a", 1)),
			want: []string{"adopt n1", "a waits: MachinesComing"},
		},
		"not while something else keeps it from starting": {
			in:   snapshot(one, nodes(node("n1", young, notAdopted, starting, network)), pod("a", 1)),
			want: []string{"a waits: MachinesComing"},
		},
		"one that was recorded while it was silent": {
			in: snapshot(one, nodes(node("n1", starting))), want: []string{"adopt n1"},
		},
		"not one that is being deleted, which is only recorded": {
			in: snapshot(one, nodes(node("n1", young, notAdopted, starting, state(InstanceDeleting)))), want: []string{"adopt n1"},
		},
		"and not once it is recorded": {
			in: snapshot(one, nodes(node("n1", young, starting, state(InstanceDeleting)))), want: nil,
		},
	}.run(t)
}
