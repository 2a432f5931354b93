package capacity

import (
	"testing"
	"time"
)

func protecting(p *PoolState) { p.Settings.ProtectBusy = true }
func protected(n *Node)       { n.Instance.Protected = true }

func freed(ago time.Duration) func(*Node) { return func(n *Node) { n.Freed = now.Add(-ago) } }

// Machines with work are protected from Azure's own scale-in, where that is asked
// for.
func TestProtect(t *testing.T) {
	two := func(changes ...func(*PoolState)) []PoolState {
		return pools(poolOf("agents", 2, append(changes, running("n1", "n2"), bounds(2, 10))...))
	}
	work := pod("work", 1, on("n2"))
	scenarios{
		"with work: protected":                      {in: snapshot(two(protecting), nodes(node("n1"), node("n2")), work), want: []string{"protect n2: true"}},
		"once":                                      {in: snapshot(two(protecting), nodes(node("n1"), node("n2", protected)), work), want: nil},
		"not if nobody asks for it":                 {in: snapshot(two(), nodes(node("n1", protected), node("n2")), work), want: nil},
		"without work: no longer":                   {in: snapshot(two(protecting), nodes(node("n1", protected, freed(unprotectAfter)), node("n2", protected)), work), want: []string{"protect n1: false"}},
		"not at once":                               {in: snapshot(two(protecting), nodes(node("n1", protected, freed(unprotectAfter-time.Second)), node("n2", protected)), work), want: nil},
		"those with work first":                     {in: snapshot(two(protecting), nodes(node("n1", protected), node("n2")), work), want: []string{"protect n2: true"}},
		"not that of one that was refused":          {in: snapshot(two(protecting), nodes(node("n1", held(time.Second)), node("n2")), work, pod("too", 1, on("n1"))), want: []string{"protect n2: true"}},
		"a DaemonSet's pod is no work":              {in: snapshot(two(protecting), nodes(node("n1"), node("n2")), pod("d", 1, on("n2"), of(Daemon))), want: nil},
		"one at a time":                             {in: snapshot(two(protecting), nodes(node("n1"), node("n2")), work, pod("too", 1, on("n1"))), want: []string{"protect n1: true"}},
		"not on doubt which machine it is":          {in: snapshot(two(protecting), nodes(node("n1"), node("n2", unmapped)), work), want: nil},
		"a machine that goes is left as it is":      {in: snapshot(two(protecting), nodes(node("n1"), node("n2", committed, protected))), want: []string{"delete n2"}},
		"a pool that must not be managed stays too": {in: snapshot(two(protecting, refused("it is Flexible")), nodes(node("n1"), node("n2")), work), want: nil},
	}.run(t)
}
