package capacity

import (
	"testing"
	"time"
)

// A frame of a Job ends and the next one comes: no mark is set to be taken back
// in the same second.
func TestANodeThatLostWorkJustNowIsNotMarked(t *testing.T) {
	freed := func(ago time.Duration) func(*Node) { return func(n *Node) { n.Freed = now.Add(-ago) } }
	hasty := func(p *PoolState) { idle := time.Second; p.Settings.IdleAfter = &idle }
	scenarios{
		"a second ago": {in: snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", freed(time.Second))))},
		"a while ago": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", freed(time.Minute)))),
			want: []string{"mark n1"},
		},
		"a second ago, in a pool that keeps nothing for longer": {
			in:   snapshot(pools(poolOf("agents", 1, hasty, running("n1"))), nodes(node("n1", freed(time.Second)))),
			want: []string{"mark n1"},
		},
	}.run(t)
	if d := Plan(snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", freed(time.Second))))); !d.NextLook.Equal(now.Add(replacement - time.Second)) {
		t.Errorf("the next look is at %s, want as soon as the node may be marked", d.NextLook)
	}
}
