package capacity

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// checkMemory makes sure that whoever remembers earlier plans decides as one who
// does not, and that later plans leave a decision as it is.
func checkMemory(t *testing.T, s Snapshot, d *dice) {
	var m Memory
	type decided struct {
		Decision
		text string
	}
	var earlier []decided
	for range 3 {
		want, got := fmt.Sprintf("%#v", Plan(s)), m.Plan(s)
		if fmt.Sprintf("%#v", got) != want {
			t.Fatalf("decided otherwise than without memory (-want +got):\n%s", cmp.Diff(Plan(s), got))
		}
		earlier = append(earlier, decided{got, want})
		s = afterwards(s, d)
	}
	for i, e := range earlier {
		if now := fmt.Sprintf("%#v", e.Decision); now != e.text {
			t.Errorf("decision %d is another one after the plans that followed (-before +after):\n%s", i+1, cmp.Diff(e.text, now))
		}
	}
}

// afterwards is what may have become of the snapshot a while later. It shares the
// nodes that have not changed.
func afterwards(s Snapshot, d *dice) Snapshot {
	s.Now = s.Now.Add(pick(d, 0, 0, time.Second, 20*time.Minute, -time.Hour))
	s.Pools, s.Nodes, s.Waiting = slices.Clone(s.Pools), slices.Clone(s.Nodes), slices.Clone(s.Waiting)
	for i := range s.Pools {
		if d.rarely() {
			s.Pools[i] = anyPool(d, s.Pools[i].Name)
		}
	}
	for i := len(s.Nodes) - 1; i >= 0; i-- {
		switch n := s.Nodes[i]; d.roll(8) {
		case 0:
			s.Nodes = slices.Delete(s.Nodes, i, i+1)
		case 1:
			changed := anyNode(d, &s, n.Name)
			changed.Load = n.Load
			s.Nodes[i] = &changed
		case 2:
			ended := *n
			ended.Load = NewLoad(nil)
			s.Nodes[i] = &ended
		}
	}
	if d.rarely() {
		n := anyNode(d, &s, fmt.Sprintf("m%02d", d.roll(20)))
		s.Nodes = append(s.Nodes, &n)
	}
	if d.rarely() {
		s.Daemons = append(slices.Clone(s.Daemons), anyClass(d, 0.25))
	}
	if len(s.Waiting) > 0 && d.rarely() {
		s.Waiting = s.Waiting[1:]
	}
	return s
}
