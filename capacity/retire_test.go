package capacity

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestMark(t *testing.T) {
	agents := poolOf("agents", 2, running("n1", "n2"))
	full := poolOf("agents", 1, running("n1"), bounds(0, 1))
	scenarios{
		"an idle node is marked": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1"))),
			want: []string{"mark n1"},
		},
		"also a busy one, if nothing waits for it": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1")), pod("old", 8, on("n1"))),
			want: []string{"mark n1"},
		},
		"not while pods wait for its room": {
			in:   snapshot(pools(full), nodes(node("n1")), pod("old", 5, on("n1")), pod("a", 5)),
			want: []string{"a waits: PoolAtMaximum"},
		},
		"but then if it never has room for them": {
			in:   snapshot(pools(full), nodes(node("n1")), pod("static", 1, on("n1"), of(Mirror)), pod("old", 5, on("n1")), pod("a", 8)),
			want: []string{"mark n1", "a waits: PoolAtMaximum"},
		},
		"not while it received work a short while ago": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1")), pod("old", 5, on("n1"), boundAgo(time.Minute))),
			want: nil,
		},
		"not with a pod on it that runs for ever": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1")), pod("dns", 1, on("n1"), of(LongLived))),
			want: nil,
		},
		"the minimum stays, and of two the one that is free earlier goes": {
			in: snapshot(pools(poolOf("agents", 2, running("n1", "n2"), bounds(1, 3))), nodes(node("n1"), node("n2")),
				pod("old", 5, on("n1"), endsIn(time.Hour)), pod("older", 5, on("n2"), endsIn(time.Minute))),
			want: []string{"mark n2"},
		},
		"a machine that is silent or on request to go is no part of the minimum": {
			in: snapshot(pools(poolOf("agents", 3, running("n1", "n2", "n3"), bounds(1, 3))),
				nodes(node("n1"), node("n2", notReady), node("n3", requested))),
			want: []string{"mark n3"},
		},
		"the node that stays longest is used, the other one runs dry": {
			in:   snapshot(pools(agents), nodes(node("n1"), node("n2")), pod("old", 1, on("n2"), endsIn(time.Hour)), pod("a", 2)),
			want: []string{"release a to n2", "mark n1"},
		},
		"never with keep": {in: snapshot(pools(agents), nodes(node("n1", keep))), want: nil},
		"never outside every pool": {
			in:   snapshot(pools(poolOf("agents", 0)), nodes(node("server", outside))),
			want: nil,
		},
		"never on doubt which machine it is": {
			in: snapshot(pools(agents), nodes(node("n1", unmapped), node("n2", func(n *Node) { n.Recorded = "another" }))), want: nil,
		},
		"never in a pool that must not be managed": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"), refused("it is Flexible"))), nodes(node("n1"))),
			want: nil,
		},
		"never a silent one": {in: snapshot(pools(agents), nodes(node("n1", notReady))), want: nil},
		"not right after a failed attempt": {
			in: snapshot(pools(agents), nodes(node("n1", held(time.Second)))), want: nil,
		},
		"on request, whatever waits": {
			in:   snapshot(pools(full), nodes(node("n1", requested)), pod("a", 2)),
			want: []string{"mark n1", "a waits: PoolAtMaximum"},
		},
		"not even on request with keep": {
			in:   snapshot(pools(full), nodes(node("n1", requested, keep)), pod("a", 2)),
			want: []string{"release a to n1"},
		},
	}.run(t)
}

func TestRetirement(t *testing.T) {
	one := pools(poolOf("agents", 1, running("n1")))
	is := func(changes ...func(*Node)) []*Node { return nodes(node("n1", changes...)) }
	scenarios{
		"a marked node runs dry": {in: snapshot(one, is(marked), pod("old", 1, on("n1"))), want: nil},
		"its end of work is recorded": {
			in: snapshot(one, is(marked)), want: []string{"record-empty n1"},
		},
		"DaemonSet and mirror pods are no work": {
			in:   snapshot(one, is(marked), pod("d", 1, on("n1"), of(Daemon)), pod("m", 1, on("n1"), of(Mirror))),
			want: []string{"record-empty n1"},
		},
		"new work on it is recorded": {
			in: snapshot(one, is(emptyFor(time.Minute)), pod("a", 1, on("n1"))), want: []string{"record-busy n1"},
		},
		"it idles for as long as the pool says, less the settling": {
			in: snapshot(one, is(emptyFor(idleAfter-settle-time.Second))), want: nil,
		},
		"then it is fenced": {
			in: snapshot(one, is(emptyFor(idleAfter-settle))), want: []string{"fence n1"},
		},
		"at once if an operator asked for it": {
			in: snapshot(one, is(emptyFor(0), requested)), want: []string{"fence n1"},
		},
		"not again right after a fence that could not be proved": {
			in:   snapshot(one, is(emptyFor(time.Hour), func(n *Node) { n.FenceAfter = now.Add(time.Second) })),
			want: nil,
		},
		"not while it is silent": {in: snapshot(one, is(emptyFor(time.Hour), notReady)), want: nil},
		"unless its machine is known to be off": {
			in: snapshot(one, is(emptyFor(time.Hour), notReady, state(InstanceStopped))), want: []string{"fence n1"},
		},
		"the fence is proved": {
			in: snapshot(one, is(fencedAfter(time.Hour))), want: []string{"prove n1"},
		},
		"again and again": {
			in: snapshot(one, is(fencedAfter(time.Hour), proving(proofTimeout-time.Second))), want: []string{"prove n1"},
		},
		"but not for ever": {
			in: snapshot(one, is(fencedAfter(time.Hour), proving(proofTimeout))), want: []string{"unfence n1 as unproved"},
		},
		"work on a fenced node takes the fence back": {
			in:   snapshot(one, is(fencedAfter(time.Hour), proved(time.Hour)), pod("a", 1, on("n1"))),
			want: []string{"unfence n1"},
		},
		"the proved fence settles": {
			in: snapshot(one, is(fencedAfter(time.Hour), proved(settle-time.Second))), want: nil,
		},
		"and the idle time ends": {
			in: snapshot(one, is(fencedAfter(idleAfter-time.Second), proved(time.Hour))), want: nil,
		},
		"then the deletion is committed": {
			in: snapshot(one, is(fencedAfter(idleAfter), proved(settle))), want: []string{"commit n1"},
		},
		"another leader's proof does not count": {
			in: snapshot(one, is(fencedAfter(24*time.Hour))), want: []string{"prove n1"},
		},
		"a fence without a record of when the node was empty is taken back": {
			in: snapshot(one, is(fencedAfter(time.Hour), marked)), want: []string{"unfence n1"},
		},
		"keep takes a mark back":  {in: snapshot(one, is(marked, keep)), want: []string{"unmark n1"}},
		"keep takes a fence back": {in: snapshot(one, is(fencedAfter(time.Hour), keep)), want: []string{"unfence n1"}},
		"a doubt takes a mark back": {
			in: snapshot(one, is(emptyFor(time.Hour), unmapped)), want: []string{"unmark n1"},
		},
		"a doubt takes a fence back": {
			in: snapshot(one, is(fencedAfter(time.Hour), proved(time.Hour), unmapped)), want: []string{"unfence n1"},
		},
		"a pool that must not be managed any more gets its nodes back": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"), refused("it is Flexible"))), is(marked)),
			want: []string{"unmark n1"},
		},
		"a raised minimum takes marks back before it buys": {
			in: snapshot(pools(poolOf("agents", 3, running("n1", "n2", "n3"), bounds(2, 4))),
				nodes(node("n1", fencedAfter(time.Hour)), node("n2", marked), node("n3")), pod("old", 1, on("n2"))),
			want: []string{"unmark n2", "prove n1"},
		},
		"a rescue counts towards the minimum": {
			in: snapshot(pools(poolOf("agents", 2, running("n1", "n2"), bounds(1, 4))),
				nodes(node("n1", emptyFor(0)), node("n2", emptyFor(0), labelled("disk", "ssd"))),
				pod("a", 1, class(classOf(cpus(1), "", map[string]string{"disk": "ssd"})))),
			want: []string{"unmark n2 as a rescue", "a waits: NodeTakenBack"},
		},
		"a failed step is not repeated at once": {
			in: snapshot(one, is(marked, held(time.Second)), pod("a", 2)), want: []string{"a waits: NodeTakenBack"},
		},
	}.run(t)
}

// Data on a node's own disk keep it, unless an operator decides otherwise.
func TestLocalVolumes(t *testing.T) {
	one := pools(poolOf("agents", 1, running("n1")))
	is := func(changes ...func(*Node)) []*Node {
		return nodes(node("n1", append(changes, func(n *Node) { n.Volume = "pvc-1 of claim work/data" })...))
	}
	scenarios{
		"not marked":                    {in: snapshot(one, is()), want: nil},
		"nor if it has work":            {in: snapshot(one, is(), pod("a", 1, on("n1"))), want: nil},
		"a mark is taken back":          {in: snapshot(one, is(emptyFor(time.Hour))), want: []string{"unmark n1"}},
		"so is a fence":                 {in: snapshot(one, is(fencedAfter(time.Hour), proved(time.Hour))), want: []string{"unfence n1"}},
		"what is committed is held":     {in: snapshot(one, is(committed)), want: nil},
		"nor one that is silent":        {in: snapshot(one, is(silentFor(time.Hour))), want: nil},
		"an outdated one is not rolled": {in: snapshot(one, is(func(n *Node) { n.Instance.Outdated, n.Outdated = true, true }), pod("a", 1, on("n1"))), want: nil},
		"an operator asks for it":       {in: snapshot(one, is(requested)), want: []string{"mark n1"}},
		"and gets it":                   {in: snapshot(one, is(requested, committed)), want: []string{"delete n1"}},
		"of a machine that is gone nothing is left to keep": {
			in:   snapshot(pools(poolOf("agents", 0, func(p *PoolState) { p.Lists = 7 })), is(notReady, unmapped, func(n *Node) { n.MissingSince = 6 })),
			want: []string{"forget n1"},
		},
		"a deallocated one is started": {
			in: snapshot(pools(poolOf("agents", 1, deallocating, turnedOff("n1"))), is(off), pod("a", 1)), want: []string{"start n1", "a waits: MachinesComing"},
		},
		"it serves as the pool's buffer": {
			in: snapshot(pools(poolOf("agents", 1, running("n1"), func(p *PoolState) { p.Settings.Buffer.Machines = 1 })), is()), want: nil,
		},
	}.run(t)
}

func TestDeletion(t *testing.T) {
	goes := Instance{ID: "id-n1", VMID: "vm-n1", State: InstanceDeleting}
	there := pools(poolOf("agents", 1, running("n1")))
	going := pools(poolOf("agents", 0, machine(goes)))
	gone := pools(poolOf("agents", 0))
	is := func(changes ...func(*Node)) []*Node {
		return nodes(node("n1", append([]func(*Node){committed}, changes...)...))
	}
	scenarios{
		"what is committed is deleted": {in: snapshot(there, is()), want: []string{"delete n1"}},
		"also by another leader, and if the node is silent": {
			in: snapshot(there, is(notReady)), want: []string{"delete n1"},
		},
		"the node stays until the machine is gone": {in: snapshot(going, is(notReady)), want: nil},
		"then it is forgotten":                     {in: snapshot(gone, is(notReady, unmapped)), want: []string{"forget n1"}},
		"not by a list that is yet to be read": {
			in:   snapshot(pools(poolOf("agents", 0, func(p *PoolState) { p.Listed = false })), is(unmapped)),
			want: nil,
		},
		"not while the machine turns up in another pool": {
			in:   snapshot(append(pools(poolOf("big", 1, running("n1"))), gone...), is(unmapped)),
			want: nil,
		},
		"a failed deletion is repeated, but not at once": {in: snapshot(there, is(held(time.Second))), want: nil},
		"a pod that landed there is evicted": {
			in:   snapshot(going, is(), pod("late", 1, on("n1")), pod("d", 1, on("n1"), of(Daemon))),
			want: []string{"evict late from n1"},
		},
		"but not what Kubernetes had taken before, from a machine that is off": {
			in: snapshot(going, is(notReady, fencedAgo(time.Minute)), pod("taken", 1, on("n1"), dying)), want: nil,
		},
		"what landed there and goes already is late": {
			in: snapshot(going, is(notReady, fencedAgo(time.Minute)), pod("late", 1, on("n1"), boundAgo(time.Second), dying)), want: []string{"evict late from n1"},
		},
		"keep stops it":         {in: snapshot(there, is(keep)), want: nil},
		"keep is not forgotten": {in: snapshot(gone, is(keep, unmapped)), want: nil},
		"a missing fence stops it, as a kubelet may have written the commitment": {
			in: snapshot(there, is(func(n *Node) { n.Fence = "" }), pod("a", 1, on("n1"))), want: nil,
		},
		"without the fence no node is forgotten": {
			in: snapshot(gone, is(unmapped, func(n *Node) { n.Fence = "" })), want: nil,
		},
		"a doubt stops it": {in: snapshot(there, is(unmapped)), want: nil},
		"a commitment to another machine than the node's stops it": {
			in:   snapshot(there, is(func(n *Node) { n.Deleting = "vm-n2" }), pod("a", 1, on("n1"))),
			want: nil,
		},
		"nothing outside every pool is deleted, evicted or forgotten": {
			in:   snapshot(gone, nodes(node("server", outside, func(n *Node) { n.Deleting, n.Recorded = "x", "x" })), pod("a", 1, on("server"))),
			want: nil,
		},
	}.run(t)
}

func TestPoolWithAServerIsLeftAlone(t *testing.T) {
	server := func(n *Node) { n.Server, n.Keep = true, "label control-plane" }
	scenarios{
		"neither grows nor shrinks": {
			in:   snapshot(pools(poolOf("agents", 2, running("n1", "s1"))), nodes(node("n1"), node("s1", server)), pod("a", 30), pod("old", 8, on("n1"))),
			want: []string{"a waits: NoPoolFits"},
		},
	}.run(t)
}

func TestAdoption(t *testing.T) {
	one := pools(poolOf("agents", 1, running("n1")))
	startup := tainted(corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule})
	is := func(changes ...func(*Node)) []*Node { return nodes(node("n1", append(changes, notAdopted)...)) }
	scenarios{
		"a ready node of a pool is adopted": {in: snapshot(one, is()), want: []string{"adopt n1"}},
		"not before it is ready":            {in: snapshot(one, is(notReady, young)), want: nil},
		"not before its startup taints go":  {in: snapshot(one, is(startup, young)), want: nil},
		"not on doubt which machine it is":  {in: snapshot(one, is(unmapped)), want: nil},
		"not in a pool that must not be managed": {
			in: snapshot(pools(poolOf("agents", 1, running("n1"), refused("it is Flexible"))), is()), want: nil,
		},
	}.run(t)
}
