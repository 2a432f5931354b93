package manager

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// What the capacity counts and no list shows is not counted on for ever; what was
// asked for meanwhile is.
func TestUnlistedMachines(t *testing.T) {
	type list struct {
		after            time.Duration
		capacity, listed int
	}
	for name, tc := range map[string]struct {
		lists []list
		want  int
	}{
		"all are there":                           {lists: []list{{0, 2, 2}, {time.Hour, 2, 2}}},
		"two come a little later":                 {lists: []list{{0, 3, 1}, {time.Minute, 3, 1}}},
		"two never come":                          {lists: []list{{0, 3, 1}, {unlistedTimeout, 3, 1}}, want: 2},
		"one of two comes":                        {lists: []list{{0, 3, 1}, {time.Minute, 3, 2}, {unlistedTimeout, 3, 2}}, want: 1},
		"they come at last":                       {lists: []list{{0, 3, 1}, {unlistedTimeout, 3, 1}, {time.Minute, 3, 3}}},
		"the pool grows all the while":            {lists: []list{{0, 2, 1}, {8 * time.Minute, 6, 3}, {8 * time.Minute, 9, 8}}, want: 1},
		"what was asked for just now may come":    {lists: []list{{0, 2, 2}, {unlistedTimeout, 9, 2}}},
		"they were all there in between":          {lists: []list{{0, 3, 1}, {8 * time.Minute, 3, 3}, {8 * time.Minute, 5, 3}}},
		"somebody lowers the capacity":            {lists: []list{{0, 3, 1}, {unlistedTimeout, 3, 1}, {time.Minute, 1, 1}}},
		"fewer are asked for than there are left": {lists: []list{{0, 1, 2}, {unlistedTimeout, 1, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			s := &poolState{}
			for _, l := range tc.lists {
				now = now.Add(l.after)
				s.Capacity, s.Instances = l.capacity, make([]capacity.Instance, l.listed)
				s.countUnlisted(now)
			}
			if s.Unlisted != tc.want {
				t.Errorf("%d machines are not counted on, want %d", s.Unlisted, tc.want)
			}
		})
	}
}

// That machines do not come is told of once, for as long as it lasts.
func TestUnlistedMachinesAreToldOfOnce(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	recorder := &events.FakeRecorder{Events: make(chan string, 10)}
	w.events = recorder
	for _, unlisted := range []int{0, 2, 2, 1, 0, 1} {
		o := w.observation()
		o.snapshot.Pools = []capacity.PoolState{{Pool: capacity.Pool{Name: "agents"}, Unlisted: unlisted}}
		w.followOthers(o)
	}
	if n := len(recorder.Events); n != 2 {
		t.Errorf("told %d times of machines that were missing twice", n)
	}
	const want = "Warning MachinesNotListed scale set agents: its capacity counts 2 machines that Azure has not listed"
	if told := <-recorder.Events; !strings.HasPrefix(told, want) {
		t.Errorf("told %q, want it to begin with %q", told, want)
	}
	status := shownShapes{}.status(capacity.Snapshot{Pools: []capacity.PoolState{{Unlisted: 1}}}).Pools[0].Warning
	if diff := cmp.Diff((&capacity.PoolState{Unlisted: 1}).UnlistedText(), status); diff != "" {
		t.Errorf("warning in the status (-want +got):\n%s", diff)
	}
}
