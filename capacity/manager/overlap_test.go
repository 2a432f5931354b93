package manager

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// capacities are what is known of all pools.
func capacities(p *pools) map[string]int {
	known := map[string]int{}
	for _, s := range p.snapshot() {
		known[s.Name] = s.Capacity
	}
	return known
}

func TestOnePoolThatCannotBeReadDoesNotHideTheOthers(t *testing.T) {
	cloud := &scriptedCloud{others: []capacity.Pool{{Name: "big", Capacity: 1}, {Name: "new", Capacity: 1}}}
	cloud.blind = map[string]error{"new": errors.New("no permission")}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		if diff := cmp.Diff(map[string]int{"agents": 0, "big": 1}, capacities(p)); diff != "" {
			t.Errorf("pools known (-want +got):\n%s", diff)
		}
		cloud.pool.Capacity, cloud.others[0].Capacity = 5, 7
		cloud.blind = map[string]error{"big": errors.New("throttled")}
		p.refresh(t.Context())
		// What was known of big stays; its capacity without its machines would
		// look like machines on their way.
		if diff := cmp.Diff(map[string]int{"agents": 5, "big": 1, "new": 1}, capacities(p)); diff != "" {
			t.Errorf("pools known (-want +got):\n%s", diff)
		}
		if err := p.failure(); err == nil || err.Error() != "list the machines of pool big: throttled" {
			t.Errorf("failure %v, want the one of pool big", err)
		}
	})
}

// The machines of a set that was deleted are missing in all its lists, and no drop of
// its capacity is made of that.
func TestASetThatWasDeleted(t *testing.T) {
	cloud := &scriptedCloud{pool: capacity.Pool{Settled: true, Capacity: 1}, instances: []capacity.Instance{{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		before := agents(t, p)
		cloud.pool = capacity.Pool{Name: "agents", Gone: true, Settled: true, Refused: "gone"}
		cloud.blind = map[string]error{"agents": errors.New("404")}
		for range 2 {
			p.refresh(t.Context())
		}
		if got := agents(t, p); p.failure() != nil || len(got.Instances) != 0 || got.Lists != before.Lists+2 || got.Lowered != nil {
			t.Errorf("it has %d machines after %d lists more, lowered %v, failure %v; want none after 2 and neither", len(got.Instances), got.Lists-before.Lists, got.Lowered, p.failure())
		}
	})
}

// A pool that is gone is forgotten with its last node.
func TestAGoneSetIsForgottenWithItsLastNode(t *testing.T) {
	for name, tc := range map[string]struct {
		pool string // of the node
		want int
	}{"a node is left": {"Agents", 1}, "none is": {"big", 0}} {
		t.Run(name, func(t *testing.T) {
			n := fencedNode()
			n.Labels[api.PoolLabel] = tc.pool
			w, _ := observed(t, &scriptedCloud{pool: capacity.Pool{Gone: true, Settled: true, Refused: "gone"}}, n)
			o, err := w.observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if known, shown := len(w.pools.snapshot()), len(o.snapshot.Pools); known != tc.want || shown != tc.want {
				t.Errorf("%d pools are known and %d shown, want %d", known, shown, tc.want)
			}
		})
	}
}

func TestAPoolThatBlinksKeepsWhatWasLearned(t *testing.T) {
	cloud := &scriptedCloud{others: []capacity.Pool{{Name: "big"}}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		p.learn("big", &fit.Shape{Allocatable: fit.Resources{MilliCPU: 1000}}, 40*time.Second)
		others := cloud.others
		cloud.others = nil
		p.refresh(t.Context())
		agents(t, p) // the only one that is known
		cloud.others = others
		p.refresh(t.Context())
		big := p.snapshot()[1]
		if big.BootTime != 40*time.Second || big.Shape == nil {
			t.Errorf("boot time %s, shape %v of the pool that came back, want what was learned", big.BootTime, big.Shape)
		}
	})
}

// TestSomebodyElseChangesTheCapacity: the pool is read before it is asked
// again, and asking in between neither reaches the cloud nor delays the read.
func TestSomebodyElseChangesTheCapacity(t *testing.T) {
	cloud := &scriptedCloud{listTime: time.Second, grow: func(from, _ int) error {
		if from != 4 {
			return &capacity.GrowError{Reason: "the capacity is 4", Changed: true}
		}
		return nil
	}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		cloud.pool.Capacity = 4 // behind the manager's back
		ctx, cancel := context.WithCancel(t.Context())
		go p.run(ctx)
		time.Sleep(30 * time.Second) // an ordinary read has just ended, the next is far
		stale := capacity.Grow{Pool: "agents", From: 0, To: 2}
		p.mu.Lock()
		p.states["agents"].Capacity = 0
		p.mu.Unlock()
		for range 100 { // every 50 ms, as eager plans would
			_, err := p.grow(t.Context(), stale)
			if !isStale(err) {
				t.Fatalf("error %v, want one that says the pool has changed", err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if len(cloud.asked) != 1 {
			t.Errorf("the cloud was asked %d times on an old picture, want once", len(cloud.asked))
		}
		if got := agents(t, p); got.Capacity != 4 || got.Growing {
			t.Errorf("capacity %d, growing %t after five seconds, want the 4 that were read", got.Capacity, got.Growing)
		}
		if n, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 4, To: 6}); n != 2 || err != nil {
			t.Errorf("granted %d, %v on the newer picture, want 2", n, err)
		}
		cancel()
	})
}

// TestGrowthAndDeletionOverlap: both change the capacity, in any order.
func TestGrowthAndDeletionOverlap(t *testing.T) {
	for name, tc := range map[string]struct {
		refusal error
		want    int
	}{
		"granted": {want: 4},
		"refused": {refusal: &capacity.GrowError{Reason: "quota"}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{instances: []capacity.Instance{{ID: "1", VMID: "a", State: capacity.InstanceRunning}, {ID: "2", VMID: "b", State: capacity.InstanceRunning}}}
			cloud.pool.Capacity = 2
			inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
				cloud.grow = func(int, int) error {
					if err := p.delete(t.Context(), "agents", []capacity.Ref{{ID: "1", VMID: "a"}}, func(error) {}); err != nil {
						t.Error(err)
					}
					return tc.refusal
				}
				_, _ = p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 2, To: 5})
				if got := agents(t, p); got.Capacity != tc.want {
					t.Errorf("capacity %d, want %d", got.Capacity, tc.want)
				}
			})
		})
	}
}

// TestAListBehindTheDeletion: a machine whose deletion was accepted must not be
// deleted again because a list still calls it running.
func TestAListBehindTheDeletion(t *testing.T) {
	cloud := &scriptedCloud{instances: []capacity.Instance{{ID: "1", VMID: "a", State: capacity.InstanceRunning}}}
	cloud.outcome = errors.New("Azure could not delete it")
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		if err := p.delete(t.Context(), "agents", []capacity.Ref{{ID: "1", VMID: "a"}}, func(error) {}); err != nil {
			t.Fatal(err)
		}
		p.refresh(t.Context())
		if got := agents(t, p).Instances[0].State; got != capacity.InstanceDeleting {
			t.Errorf("the machine is %s while its deletion is under way", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		p.refresh(t.Context())
		if got := agents(t, p).Instances[0].State; got != capacity.InstanceRunning {
			t.Errorf("the machine is %s after its deletion has failed, want it to be seen again", got)
		}
	})
}

func TestARequestThatFailsAtOnceChangesNothing(t *testing.T) {
	cloud := &scriptedCloud{instances: []capacity.Instance{{ID: "1", VMID: "a", State: capacity.InstanceRunning}}}
	cloud.pool.Capacity, cloud.deleteErr = 1, errors.New("409 another operation is under way")
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		err := p.delete(t.Context(), "agents", []capacity.Ref{{ID: "1", VMID: "a"}}, func(error) { t.Error("an outcome of what was never accepted") })
		if !errors.Is(err, cloud.deleteErr) {
			t.Errorf("error %v, want the cloud's", err)
		}
		if got := agents(t, p); got.Capacity != 1 || got.Instances[0].State != capacity.InstanceRunning {
			t.Errorf("capacity %d, machine %s: want them as they were", got.Capacity, got.Instances[0].State)
		}
	})
}

// TestShutdownIsNoFailure: a read that the end of the process cuts short says
// nothing of the cloud.
func TestShutdownIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := &scriptedCloud{err: context.Canceled}
		p := newPools(cloud, time.Now, logr.Discard(), func() {})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.refresh(ctx)
		if err := p.failure(); !errors.Is(err, errUnread) {
			t.Errorf("failure %v, want that nothing was read yet", err)
		}
	})
}

// TestAReadWhileAPurchaseIsSubmitted does not hide it: what was read may be
// older.
func TestAReadWhileAPurchaseIsSubmitted(t *testing.T) {
	cloud := &scriptedCloud{}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		cloud.grow = func(int, int) error {
			p.refresh(t.Context())
			if got := agents(t, p); got.Capacity != 3 || !got.Growing {
				t.Errorf("capacity %d, growing %t, want 3 and growing", got.Capacity, got.Growing)
			}
			return nil
		}
		if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 0, To: 3}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAGrantEndsTheRowOfRefusals(t *testing.T) {
	cloud := &scriptedCloud{}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		quota := &capacity.GrowError{Reason: "quota"}
		for i, answer := range []error{quota, quota, nil, quota} {
			cloud.grow = func(int, int) error { return answer }
			from := agents(t, p).Capacity
			if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: from, To: from + 1}); !errors.Is(err, answer) {
				t.Fatalf("request %d: %v, want %v", i, err, answer)
			}
			if i < 3 {
				time.Sleep(10 * time.Minute)
				synctest.Wait()
			}
		}
		if away := time.Until(agents(t, p).AwayUntil); away != firstAway {
			t.Errorf("away for %s, want %s: the machines before came", away, firstAway)
		}
	})
}

func TestAPurchaseWithoutAnOutcomeIsNoRefusal(t *testing.T) {
	inVirtualTime(t, &scriptedCloud{endless: true}, func(t *testing.T, p *pools) {
		if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 0, To: 3}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(operationTimeout + time.Second)
		synctest.Wait()
		if got := agents(t, p); !got.AwayUntil.IsZero() || got.Capacity != 3 {
			t.Errorf("capacity %d, away for %q, want 3 and not away", got.Capacity, got.AwayReason)
		}
	})
}
