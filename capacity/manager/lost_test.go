package manager

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// lostWorld is a manager that has seen one node, and lists of its pool.
type lostWorld struct {
	*world
	told *events.FakeRecorder
	spot bool // Azure may take the pool's machines at any time
}

func newLostWorld(t *testing.T, change func(*corev1.Node)) *lostWorld {
	n := fencedNode()
	n.Labels = map[string]string{api.PoolLabel: "agents"}
	delete(n.Annotations, api.RetiringAnnotation)
	n.Status.NodeInfo.SystemUUID = testVMID
	if change != nil {
		change(n)
	}
	w := &lostWorld{world: newWorld(t, open404, interceptor.Funcs{}), told: &events.FakeRecorder{Events: make(chan string, 10)}}
	w.events = w.told
	w.store.set(n)
	return w
}

// list lets the manager observe the cluster with that list of the pool's
// machines, and returns since which list the planner is told that one is
// missing, and the kinds and reasons of the events.
func (w *lostWorld) list(number int, machines ...capacity.Instance) (missingSince int, told []string) {
	o := &observation{store: w.store}
	o.snapshot.Pools = []capacity.PoolState{{Pool: capacity.Pool{Name: "agents", Spot: w.spot}, Listed: true, Lists: number, Instances: machines}}
	o.changes, _ = w.store.fill(&o.snapshot, w.progress.show)
	w.followMachines(o)
	_, _ = w.store.fill(&o.snapshot, w.progress.show)
	for len(w.told.Events) > 0 {
		told = append(told, strings.Join(strings.Fields(<-w.told.Events)[:2], " "))
	}
	return o.snapshot.Nodes[0].MissingSince, told
}

func running(state capacity.InstanceState) capacity.Instance {
	return capacity.Instance{ID: "1", VMID: testVMID, ComputerName: "agents000001", State: state}
}

func TestAMissingMachineIsCountedFromItsFirstList(t *testing.T) {
	w := newLostWorld(t, nil)
	for _, step := range []struct {
		list     int
		machines []capacity.Instance
		want     int
		told     []string
	}{
		{list: 1, machines: []capacity.Instance{running(capacity.InstanceRunning)}},
		{list: 2, want: 2, told: []string{"Warning MachineTaken"}},
		{list: 3, want: 2},
		{list: 4, machines: []capacity.Instance{running(capacity.InstanceRunning)}},
		{list: 5, want: 5}, // told once is enough
	} {
		since, told := w.list(step.list, step.machines...)
		if since != step.want {
			t.Errorf("list %d: missing since %d, want %d", step.list, since, step.want)
		}
		if diff := cmp.Diff(step.told, told); diff != "" {
			t.Errorf("list %d: told (-want +got):\n%s", step.list, diff)
		}
	}
}

// Whoever takes machines is told of, unless it was announced or is us.
func TestTakenMachines(t *testing.T) {
	going := running(capacity.InstanceDeleting)
	for name, tc := range map[string]struct {
		change   func(*corev1.Node)
		spot     bool
		givenUp  bool // before it joined
		machines []capacity.Instance
		told     []string
	}{
		"running":                              {machines: []capacity.Instance{running(capacity.InstanceRunning)}},
		"being deleted by others":              {machines: []capacity.Instance{going}, told: []string{"Warning MachineTaken"}},
		"gone":                                 {told: []string{"Warning MachineTaken"}},
		"a Spot machine":                       {spot: true, told: []string{"Normal MachineTaken"}},
		"being deleted by us":                  {machines: []capacity.Instance{going}, change: func(n *corev1.Node) { n.Annotations[api.DeletingAnnotation] = testVMID }},
		"gone, by us":                          {change: func(n *corev1.Node) { n.Annotations[api.DeletingAnnotation] = testVMID }},
		"given up, and it joined all the same": {givenUp: true, machines: []capacity.Instance{going}},
		"given up, and it joined and is gone at once": {givenUp: true},
		"gone as announced": {change: func(n *corev1.Node) {
			preempted := interruption("e1")
			preempted.Type = api.InterruptionPreempt
			n.Annotations[api.InterruptionsAnnotation] = api.EncodeInterruptions([]api.Interruption{preempted})
		}},
		"gone although only a reboot was announced": {change: func(n *corev1.Node) {
			n.Annotations[api.InterruptionsAnnotation] = api.EncodeInterruptions([]api.Interruption{interruption("e1")})
		}, told: []string{"Warning MachineTaken"}},
		"never adopted":            {change: func(n *corev1.Node) { delete(n.Annotations, api.VMIDAnnotation) }},
		"of a pool that is unread": {change: func(n *corev1.Node) { n.Labels[api.PoolLabel] = "others" }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newLostWorld(t, tc.change)
			w.spot = tc.spot
			if tc.givenUp {
				w.givenUp.set(testVMID, time.Now())
			}
			if _, told := w.list(1, tc.machines...); cmp.Diff(tc.told, told) != "" {
				t.Errorf("told %v, want %v", told, tc.told)
			}
			if _, told := w.list(2, tc.machines...); told != nil {
				t.Errorf("told again: %v", told)
			}
		})
	}
}

// The cloud is read more often while something is known to be going to happen.
func TestLossesAreExpected(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.Node)
		lists  [][]capacity.Instance
		want   bool // afterwards
		woken  bool // on the way
	}{
		"nothing": {lists: [][]capacity.Instance{{running(capacity.InstanceRunning)}}},
		"an interruption is announced": {
			change: func(n *corev1.Node) {
				n.Annotations[api.InterruptionsAnnotation] = api.EncodeInterruptions([]api.Interruption{interruption("e1")})
			},
			lists: [][]capacity.Instance{{running(capacity.InstanceRunning)}}, want: true,
		},
		"a machine is missing for the first time":  {lists: [][]capacity.Instance{nil}, want: true},
		"a machine is missing for the second time": {lists: [][]capacity.Instance{nil, nil}, woken: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newLostWorld(t, tc.change)
			w.pools.err = nil
			s := &poolState{}
			s.Listed, s.Settled = true, true
			w.pools.states["agents"] = s
			for i, machines := range tc.lists {
				w.list(i+1, machines...)
			}
			if got := w.pools.busy(); got != tc.want {
				t.Errorf("busy %t, want %t", got, tc.want)
			}
			if woken := len(w.pools.wake) == 1; woken != (tc.want || tc.woken) {
				t.Errorf("a read was asked for: %t", woken)
			}
		})
	}
}

func TestLostMachinesAreNotCountedAsRetired(t *testing.T) {
	for name, lost := range map[string]bool{"lost": true, "retired": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, open404, interceptor.Funcs{}, fencedNode())
			step := capacity.Step{Node: "agents000001", UID: "uid-node", Kind: capacity.StepForget, Pool: "agents", Lost: lost}
			if err := w.perform(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			got := map[bool]float64{
				true:  testutil.ToFloat64(w.metrics.lost.WithLabelValues("agents")),
				false: testutil.ToFloat64(w.metrics.retired.WithLabelValues("agents")),
			}
			if got[lost] != 1 || got[!lost] != 0 {
				t.Errorf("lost %v, retired %v", got[true], got[false])
			}
		})
	}
}
