package capacity

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// oldModel is a node whose machine lacks the latest model, and says so.
func oldModel(n *Node) { n.Instance.Outdated, n.Outdated = true, true }

func markedAgo(d time.Duration) func(*Node) {
	return func(n *Node) { n.Retirement = &api.Retirement{Since: metav1.NewTime(now.Add(-d))} }
}

func surge(s api.Share) func(*PoolState) { return func(p *PoolState) { p.Settings.MaxSurge = s } }

// The scale set has another model: its old machines go as they become empty, so
// many at a time, and nothing is killed for it.
func TestRoll(t *testing.T) {
	one := surge(api.Share{Machines: 1})
	busy := []Pod{pod("p1", 1, on("n1"), endsIn(time.Hour)), pod("p2", 1, on("n2"), endsIn(time.Minute)), pod("p3", 1, on("n3"), endsIn(time.Hour))}
	three := func(changes ...func(*PoolState)) []PoolState {
		return pools(poolOf("agents", 3, append(changes, running("n1", "n2", "n3"), bounds(3, 10))...))
	}
	scenarios{
		"one is marked although the pool needs it, the first to be empty": {
			in:   snapshot(three(one), nodes(node("n1", oldModel), node("n2", oldModel), node("n3")), busy...),
			want: []string{"mark n2"},
		},
		"then no other one until it is gone": {
			in:   snapshot(three(one), nodes(node("n1", oldModel), node("n2", oldModel, marked), node("n3")), busy...),
			want: nil,
		},
		"when its deletion is committed the next one is marked": {
			in:   snapshot(three(one), nodes(node("n1", oldModel), node("n2", oldModel, committed), node("n3")), busy[0], busy[2]),
			want: []string{"mark n1", "delete n2"},
		},
		"as many at a time as is said": {
			in:   snapshot(three(surge(api.Share{Percent: 50})), nodes(node("n1", oldModel), node("n2", oldModel), node("n3", oldModel)), busy...),
			want: []string{"mark n2", "mark n3"},
		},
		"none if that is said": {
			in: snapshot(three(), nodes(node("n1", oldModel), node("n2", oldModel), node("n3")), busy...), want: nil,
		},
		"not while the pool is refused machines": {
			in:   snapshot(three(one, away(time.Minute, "quota")), nodes(node("n1", oldModel), node("n2", oldModel), node("n3")), busy...),
			want: nil,
		},
		"not one that somebody keeps, nor one with a pod that runs for ever": {
			in: snapshot(three(one), nodes(node("n1", oldModel, keep), node("n2", oldModel), node("n3")),
				busy[0], pod("dns", 1, on("n2"), of(LongLived)), busy[2]),
			want: nil,
		},
		"demand buys a new one and does not take the old one back": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"), one)), nodes(node("n1", oldModel, marked)), busy[0], pod("a", 1)),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing"},
		},
		"one beyond the surge is taken back, lest there are too many": {
			in: snapshot(pools(poolOf("agents", 2, running("n1", "n2"), one)),
				nodes(node("n1", oldModel, markedAgo(time.Minute)), node("n2", oldModel, markedAgo(time.Hour))), busy[0], busy[1], pod("a", 1)),
			want: []string{"unmark n1 as a rescue", "a waits: NodeTakenBack"},
		},
		"new pods go to the latest model, although the old machine stays longer": {
			in:   snapshot(pools(poolOf("agents", 2, running("n1", "n2"))), nodes(node("n1", oldModel), node("n2")), busy[0], busy[1], pod("a", 1)),
			want: []string{"release a to n2", "mark n1"},
		},
		"an empty one goes at once": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"), one)), nodes(node("n1", oldModel, emptyFor(0)))),
			want: []string{"fence n1"},
		},
		"the minimum does not take it back": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"), one, bounds(1, 3))), nodes(node("n1", oldModel, emptyFor(0)))),
			want: []string{"fence n1"},
		},
		"of idle ones the old one goes": {
			in:   snapshot(pools(poolOf("agents", 2, running("n1", "n2"), bounds(1, 3))), nodes(node("n1"), node("n2", oldModel))),
			want: []string{"mark n2"},
		},
		"what a machine is is noted on its node": {
			in:   snapshot(three(), nodes(node("n1", func(n *Node) { n.Instance.Outdated = true }), node("n2", func(n *Node) { n.Outdated = true }), node("n3")), busy...),
			want: []string{"record-model n1", "record-model n2"},
		},
	}.run(t)
}
