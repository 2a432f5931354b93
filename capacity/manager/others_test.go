package manager

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// A capacity that falls although nobody of us asked for it is noticed; one that
// falls for a reason of our own is not.
func TestLoweredCapacity(t *testing.T) {
	machines := func(n int) []capacity.Instance {
		list := []capacity.Instance{
			{ID: "1", VMID: "vm-1", State: capacity.InstanceRunning}, {ID: "2", VMID: "vm-2", State: capacity.InstanceRunning}, {ID: "3", VMID: "vm-3", State: capacity.InstanceRunning},
		}
		return list[:n]
	}
	set := func(c *scriptedCloud, n int, settled bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pool.Capacity, c.pool.Settled, c.instances = n, settled, machines(min(n, 3))
	}
	for name, tc := range map[string]struct {
		spot      bool
		announced []string // machines that the cloud has announced to take
		do        func(*testing.T, *scriptedCloud, *pools)
		want      *[2]int
	}{
		"somebody lowers it": {
			do:   func(_ *testing.T, c *scriptedCloud, _ *pools) { set(c, 1, true) },
			want: &[2]int{3, 1},
		},
		"somebody raises it": {do: func(_ *testing.T, c *scriptedCloud, _ *pools) { set(c, 5, true) }},
		"we delete a machine": {
			do: func(t *testing.T, c *scriptedCloud, p *pools) {
				if err := p.delete(t.Context(), "agents", []capacity.Ref{{ID: "1", VMID: "vm-1"}}, func(error) {}); err != nil {
					t.Fatal(err)
				}
				set(c, 2, true)
			},
		},
		"a deletion of ours got no answer, and a growth ends well": {
			do: func(t *testing.T, c *scriptedCloud, p *pools) {
				if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 3, To: 4}); err != nil {
					t.Fatal(err)
				}
				c.deleteErr = errors.New("connection reset")
				if err := p.delete(t.Context(), "agents", []capacity.Ref{{ID: "1", VMID: "vm-1"}}, func(error) {}); err == nil {
					t.Fatal("the deletion was accepted")
				}
				time.Sleep(61 * time.Second)
				set(c, 3, true)
			},
		},
		"we delete one, and somebody lowers it too": {
			do: func(t *testing.T, c *scriptedCloud, p *pools) {
				if err := p.delete(t.Context(), "agents", []capacity.Ref{{ID: "1", VMID: "vm-1"}}, func(error) {}); err != nil {
					t.Fatal(err)
				}
				set(c, 1, true)
			},
			want: &[2]int{2, 1},
		},
		"a deletion of ours got no answer": {
			do: func(_ *testing.T, c *scriptedCloud, p *pools) {
				c.deleteErr = errors.New("the connection broke")
				_ = p.delete(context.Background(), "agents", []capacity.Ref{{ID: "1", VMID: "vm-1"}}, func(error) {})
				set(c, 2, true)
			},
		},
		"machines that we asked for do not come": {
			do: func(t *testing.T, c *scriptedCloud, p *pools) {
				c.outcome = &capacity.GrowError{Reason: "no room"}
				if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 3, To: 5}); err != nil {
					t.Fatal(err)
				}
				set(c, 3, false)
				p.refresh(t.Context()) // Azure shows it before it says why
				time.Sleep(61 * time.Second)
				set(c, 3, true)
			},
		},
		"it is lowered while we grow, and seen before we know how that ends": {
			do: func(t *testing.T, c *scriptedCloud, p *pools) {
				if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 3, To: 5}); err != nil {
					t.Fatal(err)
				}
				set(c, 4, false)
				p.refresh(t.Context())
				time.Sleep(61 * time.Second)
				set(c, 4, true)
			},
			want: &[2]int{5, 4},
		},
		"it is lowered while we grow, and seen after it": {
			do: func(t *testing.T, c *scriptedCloud, p *pools) {
				if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 3, To: 5}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(61 * time.Second)
				set(c, 4, true)
			},
			want: &[2]int{5, 4},
		},
		"Azure takes one as it has announced": {
			announced: []string{"vm-3"},
			do:        func(_ *testing.T, c *scriptedCloud, _ *pools) { set(c, 2, true) },
		},
		"Azure takes one as it has announced, and somebody another one": {
			announced: []string{"vm-3"},
			do:        func(_ *testing.T, c *scriptedCloud, _ *pools) { set(c, 1, true) },
			want:      &[2]int{2, 1},
		},
		"what is announced excuses one drop only": {
			announced: []string{"vm-3"},
			do: func(t *testing.T, c *scriptedCloud, p *pools) {
				set(c, 2, true)
				p.refresh(t.Context())
				p.expectLosses(map[string]bool{"agents": true}, map[string][]string{"agents": {"vm-3"}}) // its node is still there
				set(c, 1, true)
			},
			want: &[2]int{2, 1},
		},
		"Azure takes a Spot machine": {spot: true, do: func(_ *testing.T, c *scriptedCloud, _ *pools) { set(c, 2, true) }},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{pool: capacity.Pool{Capacity: 3, Settled: true, Spot: tc.spot}, instances: machines(3)}
			inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
				p.expectLosses(map[string]bool{"agents": tc.announced != nil}, map[string][]string{"agents": tc.announced})
				tc.do(t, cloud, p)
				p.refresh(t.Context())
				var got *[2]int
				if l := agents(t, p).Lowered; l != nil {
					got = &[2]int{l.From, l.To}
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("lowered from and to (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestALoweredCapacityIsToldOfOnce(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	recorder := &events.FakeRecorder{Events: make(chan string, 10)}
	w.events = recorder
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{noon, noon, noon.Add(time.Minute)} {
		o := w.observation()
		o.snapshot.Pools = []capacity.PoolState{{Pool: capacity.Pool{Name: "agents"}, Lowered: &capacity.Lowered{From: 5, To: 3, At: at}}}
		w.followOthers(o)
	}
	if n := testutil.ToFloat64(w.metrics.lowered.WithLabelValues("agents")); n != 2 || len(recorder.Events) != 2 {
		t.Errorf("%v counted and %d events of two drops, of which one was seen twice", n, len(recorder.Events))
	}
	const want = "CapacityLowered scale set agents: its capacity was lowered from 5 to 3 at 12:00:00 UTC, and not by Tidegate"
	if told := <-recorder.Events; !strings.Contains(told, want) {
		t.Errorf("told %q, want it to say %q", told, want)
	}
	status := func(at time.Time) string {
		return shownShapes{}.status(capacity.Snapshot{Now: at, Pools: []capacity.PoolState{{Lowered: &capacity.Lowered{From: 5, To: 3, At: noon}}}}).Pools[0].Warning
	}
	if !strings.Contains(status(noon.Add(time.Minute)), "from 5 to 3") || status(noon.Add(2*time.Hour)) != "" {
		t.Errorf("the status says %q, and two hours later %q", status(noon.Add(time.Minute)), status(noon.Add(2*time.Hour)))
	}
}

// What contradicts a commitment is told of once, and again if it is something
// else.
func TestContradictedCommitments(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.Node)
		second bool // there is another node that claims to be the machine
		gone   bool // the machine is
		told   string
	}{
		"it goes on":                   {},
		"its machine is gone":          {gone: true},
		"two nodes are that machine":   {second: true, told: "not certain which machine it is"},
		"its fence is removed by hand": {change: func(n *corev1.Node) { delete(n.Labels, api.RetiredLabel) }, told: "its fence was removed"},
		"it is kept":                   {change: func(n *corev1.Node) { n.Annotations[api.KeepAnnotation] = "true" }, told: "it is kept by its annotation"},
		"it is another machine":        {change: func(n *corev1.Node) { n.Annotations[api.VMIDAnnotation] = "other" }, told: "another machine"},
	} {
		t.Run(name, func(t *testing.T) {
			n := fencedNode()
			n.Annotations[api.DeletingAnnotation] = testVMID
			if tc.change != nil {
				tc.change(n)
			}
			n.Status.NodeInfo.SystemUUID = testVMID
			objects := []client.Object{n}
			if tc.second {
				other := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other", UID: "other"}}
				other.Status.NodeInfo.SystemUUID = testVMID
				objects = append(objects, other)
			}
			pool := capacity.PoolState{Pool: capacity.Pool{Name: "agents"}, Listed: true}
			if !tc.gone {
				pool.Instances = []capacity.Instance{{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}}
			}
			w := newWorld(t, open404, interceptor.Funcs{}, objects...)
			recorder := &events.FakeRecorder{Events: make(chan string, 10)}
			w.events = recorder
			for range 2 {
				o := w.observation()
				o.snapshot.Pools = []capacity.PoolState{pool}
				_, _ = w.store.fill(&o.snapshot, w.progress.show)
				w.followOthers(o)
			}
			told := ""
			if len(recorder.Events) > 0 {
				told = <-recorder.Events
			}
			if !strings.Contains(told, tc.told) || (told == "") != (tc.told == "") || len(recorder.Events) > 0 {
				t.Errorf("told %q and %d more, want %q once", told, len(recorder.Events), tc.told)
			}
		})
	}
}
