package capacity

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

func asksFor(f api.Fate) func(*Node) { return func(n *Node) { n.Requested = f } }

// restarts commits the node so long ago to a restart or reimage of the run
// "before".
func restarts(f api.Fate, ago time.Duration) func(*Node) {
	return func(n *Node) {
		fencedAfter(time.Hour)(n)
		n.Requested, n.BootID = f, "before"
		n.Restart = &api.Restart{Fate: f, VMID: n.Recorded, BootID: "before", Since: metav1.NewTime(now.Add(-ago))}
	}
}

func carriedOut(ago time.Duration) func(*Node) {
	return func(n *Node) {
		r, done := *n.Restart, metav1.NewTime(now.Add(-ago))
		r.Done = &done
		n.Restart = &r
	}
}

func asked(ago time.Duration) func(*Node) {
	return func(n *Node) {
		r, at := *n.Restart, metav1.NewTime(now.Add(-ago))
		r.Asked, n.Restart = &at, &r
	}
}

func inRun(boot string) func(*Node) { return func(n *Node) { n.BootID = boot } }

// An operator asks for a restart: the same way as to a deletion, but the node is
// back in the end, once.
func TestRestart(t *testing.T) {
	one := pools(poolOf("agents", 1, running("n1")))
	underWay := instance("n1")
	underWay.State = InstanceRestarting
	going := pools(poolOf("agents", 1, machine(underWay)))
	atWork := instance("n1")
	atWork.Changing = true
	changes := pools(poolOf("agents", 1, machine(atWork)))
	changing := func(n *Node) { n.Instance.Changing = true }
	off := pools(poolOf("agents", 1, turnedOff("n1")))
	none := pools(poolOf("agents", 0))
	is := func(changes ...func(*Node)) []*Node { return nodes(node("n1", changes...)) }
	scenarios{
		"the node is marked":            {in: snapshot(one, is(asksFor(api.FateRestart)), pod("old", 1, on("n1"))), want: []string{"mark n1"}},
		"it runs dry":                   {in: snapshot(one, is(asksFor(api.FateRestart), marked), pod("old", 1, on("n1"))), want: nil},
		"committed":                     {in: snapshot(one, is(fencedAfter(time.Hour), asksFor(api.FateReimage), proved(settle))), want: []string{"commit n1"}},
		"then the cloud is asked":       {in: snapshot(one, is(restarts(api.FateRestart, 0))), want: []string{"restart n1"}},
		"and not while it is under way": {in: snapshot(going, is(restarts(api.FateRestart, time.Minute))), want: nil},
		"silent meanwhile":              {in: snapshot(going, is(restarts(api.FateRestart, time.Minute), notReady)), want: nil},
		"and not while a request may be on its way": {
			in: snapshot(one, is(restarts(api.FateRestart, time.Minute), asked(restartMargin-time.Second))), want: nil,
		},
		"nor then does a node serve that is back from an earlier one": {
			in: snapshot(one, is(restarts(api.FateRestart, time.Minute), asked(restartMargin-time.Second), inRun("after"))), want: nil,
		},
		"nobody heard of that request again": {
			in: snapshot(one, is(restarts(api.FateRestart, time.Minute), asked(restartMargin))), want: []string{"restart n1"},
		},
		"nor needs to, as the node is back": {
			in: snapshot(one, is(restarts(api.FateRestart, time.Minute), asked(restartMargin), inRun("after"))), want: []string{"return n1"},
		},
		"back, and the cloud has answered": {
			in: snapshot(one, is(restarts(api.FateRestart, time.Minute), asked(time.Second), carriedOut(time.Second), inRun("after"))), want: []string{"return n1"},
		},
		"it has happened, and the node still shows the old run": {
			in: snapshot(one, is(restarts(api.FateRestart, time.Minute), carriedOut(time.Second))), want: nil,
		},
		"back": {in: snapshot(one, is(restarts(api.FateRestart, time.Minute), carriedOut(time.Second), inRun("after"))), want: []string{"return n1"}},
		"back before the cloud says: it may have been by itself": {
			in: snapshot(going, is(restarts(api.FateRestart, time.Minute), inRun("after"))), want: nil,
		},
		"nobody heard of it again, and the cloud is at work on the machine": {
			in: snapshot(changes, is(restarts(api.FateRestart, 5*time.Minute), asked(restartMargin), inRun("after"), changing)), want: nil,
		},
		"back, and not ready yet": {in: snapshot(one, is(restarts(api.FateRestart, time.Minute), carriedOut(time.Second), inRun("after"), notReady)), want: nil},
		"not back for long": {
			in: snapshot(one, is(restarts(api.FateRestart, time.Hour), carriedOut(restartTimeout))), want: []string{"return n1 as failed"},
		},
		"not back, and silent: it stays fenced, and its machine goes": {
			in:   snapshot(one, is(restarts(api.FateRestart, time.Hour), carriedOut(restartTimeout), notReady)),
			want: []string{"prove n1"},
		},
		"not before its fence has settled": {
			in: snapshot(one, is(restarts(api.FateRestart, time.Hour), carriedOut(restartTimeout), notReady, proved(settle-time.Second))), want: nil,
		},
		"and then for good": {
			in:   snapshot(one, is(restarts(api.FateRestart, time.Hour), carriedOut(restartTimeout), notReady, proved(settle))),
			want: []string{"commit n1 as failed as a repair"},
		},
		"silent, and the cloud has refused": {
			in:   snapshot(one, is(restarts(api.FateReimage, restartTimeout), notReady, proved(settle))),
			want: []string{"commit n1 as failed as a repair"},
		},
		"silent, with work that is still to be taken": {
			in:   snapshot(one, is(restarts(api.FateRestart, time.Hour), carriedOut(restartTimeout), notReady, proved(settle)), pod("a", 1, on("n1"))),
			want: []string{"evict a from n1"},
		},
		"silent, and kept": {
			in: snapshot(one, is(restarts(api.FateRestart, time.Hour), carriedOut(restartTimeout), notReady, proved(settle), keep)), want: nil,
		},
		"silent, as too many others were": {
			in: snapshot(pools(poolOf("agents", 1, running("n1"), func(p *PoolState) {
				p.Repairs = slices.Repeat([]time.Time{now.Add(-time.Minute)}, repairsAtLeast)
			})), is(restarts(api.FateRestart, time.Hour), carriedOut(restartTimeout), notReady, proved(settle))),
			want: nil,
		},
		"back after all": {
			in:   snapshot(one, is(restarts(api.FateRestart, time.Hour), carriedOut(restartTimeout), inRun("after"))),
			want: []string{"return n1"},
		},
		"the cloud is not asked so late that it might restart a node that serves again": {
			in: snapshot(one, is(restarts(api.FateRestart, restartTimeout-restartMargin))), want: nil,
		},
		"the cloud refuses, and refuses": {
			in: snapshot(one, is(restarts(api.FateRestart, restartTimeout))), want: []string{"return n1 as failed"},
		},
		"the cloud does not get done: the node does not serve": {
			in: snapshot(changes, is(restarts(api.FateDeallocate, restartTimeout), asked(restartMargin), changing)), want: []string{"prove n1"},
		},
		"and its machine goes instead": {
			in: snapshot(changes, is(restarts(api.FateDeallocate, restartTimeout), asked(restartMargin), changing, proved(settle))), want: []string{"commit n1 as failed as a repair"},
		},
		"its machine was turned off after all": {
			in: snapshot(off, is(restarts(api.FateDeallocate, restartTimeout), asked(restartMargin), state(InstanceStopped))), want: []string{"prove n1"},
		},
		"a reimaged machine joins as a new node": {
			in: snapshot(one, is(restarts(api.FateReimage, time.Minute), carriedOut(time.Second), notReady)), want: []string{"forget n1"},
		},
		"a reboot by itself is no reimage": {
			in: snapshot(one, is(restarts(api.FateReimage, time.Minute), inRun("after"))), want: []string{"restart n1"},
		},
		"keep comes before it: it waits, as it may be on its way": {in: snapshot(one, is(restarts(api.FateRestart, 0), keep)), want: nil},
		"and too late after it": {
			in: snapshot(going, is(restarts(api.FateRestart, 0), keep)), want: nil,
		},
		"so does work that was overlooked": {
			in: snapshot(one, is(restarts(api.FateRestart, 0)), pod("a", 1, on("n1"))), want: nil,
		},
		"work that lands too late is moved": {
			in: snapshot(going, is(restarts(api.FateReimage, 0)), pod("a", 1, on("n1"))), want: []string{"evict a from n1"},
		},
		"a commitment without its fence is none": {
			in: snapshot(one, is(restarts(api.FateRestart, 0), func(n *Node) { n.Fence, n.Taints = "", nil })), want: []string{"unmark n1"},
		},
		"nor one for another machine": {
			in: snapshot(one, is(restarts(api.FateRestart, 0), func(n *Node) { n.Restart.VMID = "vm-2" })), want: []string{"unfence n1"},
		},
		"demand does not take it back": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"), bounds(0, 1))), is(restarts(api.FateRestart, 0)), pod("a", 1)),
			want: []string{"restart n1", "a waits: PoolAtMaximum"},
		},
		"somebody deletes the machine meanwhile": {in: snapshot(none, is(restarts(api.FateRestart, 0), unmapped)), want: nil},
	}.run(t)
}
