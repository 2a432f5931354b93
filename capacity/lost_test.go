package capacity

import (
	"testing"
	"time"
)

// A node whose machine went without Tidegate is forgotten, but on no doubt.
func TestLostNodes(t *testing.T) {
	missing := func(since int) func(*Node) { return func(n *Node) { n.MissingSince = since } }
	lists := func(n int) func(*PoolState) { return func(p *PoolState) { p.Lists = n } }
	isGone := func(p *PoolState) { p.Gone, p.Refused = true, "it does not exist any more" }
	gone := pools(poolOf("agents", 0, lists(7)))
	leaving := func(name string) func(*PoolState) {
		i := instance(name)
		i.State = InstanceDeleting
		return machine(i)
	}
	is := func(changes ...func(*Node)) []*Node {
		return nodes(node("n1", append([]func(*Node){notReady, unmapped, missing(6)}, changes...)...))
	}
	scenarios{
		"missing twice and silent: forgotten": {in: snapshot(gone, is()), want: []string{"forget n1"}},
		"whatever was on it":                  {in: snapshot(gone, is(), pod("a", 1, on("n1"))), want: []string{"forget n1"}},
		"also if it was to be retired":        {in: snapshot(gone, is(marked)), want: []string{"forget n1"}},
		"also if it was fenced":               {in: snapshot(gone, is(fencedAfter(time.Hour))), want: []string{"forget n1"}},
		"also after an interruption":          {in: snapshot(gone, is(closed, announced(event("Preempt", -time.Minute, "n1")))), want: []string{"forget n1"}},
		"not at its first list":               {in: snapshot(gone, is(missing(7))), want: nil},
		"not before it was looked for":        {in: snapshot(gone, is(missing(0))), want: nil},
		"not while it speaks":                 {in: snapshot(gone, is(func(n *Node) { n.Ready = true })), want: nil},
		"not if it was never adopted":         {in: snapshot(gone, is(notAdopted)), want: nil},
		"not with keep":                       {in: snapshot(gone, is(keep)), want: nil},
		"not right after a failed attempt":    {in: snapshot(gone, is(held(time.Second))), want: nil},
		"not while its machine is in another pool": {
			in:   snapshot(append(pools(poolOf("big", 1, running("n1"))), gone...), is()),
			want: nil,
		},
		"not if its pool could not be read": {
			in: snapshot(pools(poolOf("agents", 0, lists(7), func(p *PoolState) { p.Listed = false })), is()), want: nil,
		},
		"not if its pool must not be managed": {
			in: snapshot(pools(poolOf("agents", 0, lists(7), refused("it is Flexible"))), is()), want: nil,
		},
		"if the whole set is gone": {
			in: snapshot(pools(poolOf("agents", 0, lists(7), isGone)), is()), want: []string{"forget n1"},
		},
		"also one whose deletion was committed": {
			in: snapshot(pools(poolOf("agents", 0, lists(7), isGone)), is(committed)), want: []string{"forget n1"},
		},
		"and nothing is bought from it": {
			in: snapshot(pools(poolOf("agents", 0, lists(7), isGone, bounds(2, 5))), nil, pod("a", 1)), want: []string{"a waits: NoPoolFits"},
		},
		"not opened again while it speaks": {in: snapshot(gone, is(fencedAfter(time.Hour), func(n *Node) { n.Ready = true })), want: nil},
		"and not for a pod":                {in: snapshot(gone, is(marked, func(n *Node) { n.Ready = true }), pod("a", 1)), want: []string{"grow agents from 0 to 1", "a waits: MachinesComing"}},
		"and no pod is released to it":     {in: snapshot(gone, is(func(n *Node) { n.Ready = true }), pod("a", 1)), want: []string{"grow agents from 0 to 1", "a waits: MachinesComing"}},
		"recorded first if it joined as its machine went": {
			in: snapshot(pools(poolOf("agents", 0, leaving("n1"))), nodes(node("n1", notReady, notAdopted, state(InstanceDeleting)))), want: []string{"adopt n1"},
		},
		"recorded once": {
			in: snapshot(pools(poolOf("agents", 0, leaving("n1"))), nodes(node("n1", notReady, state(InstanceDeleting)))), want: nil,
		},
		"not outside every pool": {in: snapshot(gone, is(func(n *Node) { n.Pool = "" })), want: nil},
	}.run(t)
}

func TestLostNodesAreToldApart(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Node)
		want   string
	}{
		"by somebody":  {func(*Node) {}, "its machine is gone, and Tidegate did not delete it"},
		"as announced": {announced(event("Preempt", -time.Minute, "n1")), "its machine is gone, as Azure had announced"},
	} {
		t.Run(name, func(t *testing.T) {
			n := node("n1", notReady, unmapped, func(n *Node) { n.MissingSince = 1 }, tc.change)
			d := Plan(snapshot(pools(poolOf("agents", 0, func(p *PoolState) { p.Lists = 2 })), nodes(n)))
			if len(d.Steps) != 1 || d.Steps[0].Why != tc.want || !d.Steps[0].Lost {
				t.Errorf("steps %+v, want one for a lost node because %q", d.Steps, tc.want)
			}
		})
	}
}
