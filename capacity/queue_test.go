package capacity

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// inZones is a demand for which there are a few hundred nodes in three zones, most
// of them soon full.
func inZones(seed uint64) Snapshot {
	r := rand.New(rand.NewPCG(seed, 0))
	luck := make([]byte, 20_000)
	for i := range luck {
		luck[i] = byte(r.Uint32())
	}
	d := &dice{luck}
	s := Snapshot{Now: now, Settle: settle, Pools: pools(poolOf("agents", 0, bounds(0, 30)))}
	s.Pools[0].Shape.Labels[corev1.LabelTopologyZone] = "west-1"
	s.Pools[0].Zones = []string{"west-1", "west-2", "west-3"}
	for i := range 150 {
		n := node(fmt.Sprintf("n%03d", i), labelled(corev1.LabelTopologyZone, pick(d, "west-1", "west-2", "west-3")))
		n.Allocatable = machineOf(pick(d, 0.5, 1, 2, 4))
		if d.rarely() {
			marked(&n)
		}
		s.Nodes = append(s.Nodes, &n)
	}
	for i := range 600 {
		p := pod(fmt.Sprintf("p%03d", i), 1, class(anyClass(d, 0.5)))
		if d.rarely() {
			unschedulable(&p)
		} else if !d.often() {
			gang(fmt.Sprint("gang-", d.roll(30)), 3)(&p)
		}
		s.Waiting = append(s.Waiting, &p)
	}
	return s
}

// TestFirstIsTheFirst: a search that goes on where the last one ended, and passes
// over full blocks and refused zones, finds the bin that a look at all of them
// finds.
func TestFirstIsTheFirst(t *testing.T) {
	for seed := range uint64(20) {
		s := inZones(seed)
		p := newPlanner(s, new(Memory))
		p.addUnits()
		p.expect()
		runs := p.byAge()
		p.sortBins(longestFirst)
		p.count(runs)
		for _, u := range p.units {
			if u.gang {
				u.placed = p.placeGang(u) // which takes all of it back where one finds no place
				continue
			}
			m := u.members[0]
			want := p.naive(m.kind, u.buys)
			if m.bin = p.first(m.kind, u.buys); m.bin != want {
				t.Fatalf("seed %d: pod %s finds bin %s, and the first one is %s", seed, m.pod.Key, number(m.bin), number(want))
			}
			if m.bin == nil && u.buys {
				m.bin = p.open(m.kind)
			}
			if m.bin != nil {
				m.bin.put(&p.world, m.kind.Class, 1)
			}
		}
	}
}

// naive looks at one bin after the other.
func (p *planner) naive(k *kind, buys bool) *bin {
	for _, b := range p.bins {
		if !buys && b.tier >= tierComing {
			break
		}
		if p.check(b, k.Class).Why == "" {
			return b
		}
	}
	return nil
}

func number(b *bin) string {
	if b == nil {
		return "none"
	}
	return fmt.Sprint(b.at)
}
