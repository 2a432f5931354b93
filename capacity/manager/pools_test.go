package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// scriptedCloud is a cloud with a pool, agents, whose answers a test sets.
type scriptedCloud struct {
	mu        sync.Mutex
	pool      capacity.Pool
	instances []capacity.Instance
	err       error                    // of the lists
	grow      func(from, to int) error // nil accepts
	outcome   error                    // of what was accepted, a minute later
	endless   bool                     // there is no outcome
	deleteErr error                    // instead of accepting a deletion or a restart
	protected []string                 // which instance was to be protected or not
	restarts  []string                 // what was to be done to which instance
	onRestart func()                   // called when that is asked for, if not nil
	listTime  time.Duration
	others    []capacity.Pool  // beside agents
	blind     map[string]error // pools whose machines cannot be listed
	asked     [][2]int
	lists     int
	listed    map[string]int // how often the machines of a pool were listed
	known     capacity.Known // what the last list was told
}

func (c *scriptedCloud) Pools(_ context.Context, known capacity.Known) ([]capacity.Pool, error) {
	c.mu.Lock()
	c.lists++
	c.known = known
	pool, err := c.pool, c.err
	c.mu.Unlock()
	time.Sleep(c.listTime)
	return append([]capacity.Pool{pool}, c.others...), err
}

func (c *scriptedCloud) Instances(_ context.Context, pool string) ([]capacity.Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listed == nil {
		c.listed = map[string]int{}
	}
	c.listed[pool]++
	if err := c.blind[pool]; err != nil {
		return nil, err
	}
	return slices.Clone(c.instances), c.err
}

func (c *scriptedCloud) Grow(_ context.Context, _ string, from, to int) (func(context.Context) error, error) {
	c.mu.Lock()
	c.asked = append(c.asked, [2]int{from, to})
	c.mu.Unlock()
	if c.grow != nil {
		if err := c.grow(from, to); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pool.Capacity = to
	return c.wait, nil
}

func (c *scriptedCloud) Delete(context.Context, string, []capacity.Ref) (func(context.Context) error, error) {
	return c.wait, c.deleteErr
}

func (c *scriptedCloud) Restart(_ context.Context, _ string, fate api.Fate, refs []capacity.Ref) (func(context.Context) error, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ref := range refs {
		c.restarts = append(c.restarts, string(fate)+" "+ref.ID)
	}
	if c.onRestart != nil {
		c.onRestart()
	}
	return c.wait, c.deleteErr
}

func (c *scriptedCloud) Start(ctx context.Context, pool string, refs []capacity.Ref) (func(context.Context) error, error) {
	return c.Restart(ctx, pool, "start", refs)
}

func (c *scriptedCloud) Protect(_ context.Context, _ string, ref capacity.Ref, protect bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.protected = append(c.protected, fmt.Sprintf("%s %t", ref.ID, protect))
	return c.deleteErr
}

func (c *scriptedCloud) wait(ctx context.Context) error {
	if c.endless {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(time.Minute)
	return c.outcome
}

// agents is what is known of the pool.
func agents(t *testing.T, p *pools) capacity.PoolState {
	t.Helper()
	known := p.snapshot()
	if len(known) != 1 {
		t.Fatalf("%d pools are known, want 1", len(known))
	}
	return known[0]
}

// inVirtualTime runs a test on pools that have been read once.
func inVirtualTime(t *testing.T, cloud *scriptedCloud, test func(*testing.T, *pools)) {
	synctest.Test(t, func(t *testing.T) {
		cloud.pool.Name, cloud.pool.Settings.Max = "agents", 10
		p := newPools(cloud, time.Now, logr.Discard(), func() {})
		p.refresh(t.Context())
		test(t, p)
		time.Sleep(2 * time.Minute) // for the outcomes that are still awaited
	})
}

func TestGrowthShowsAtOnce(t *testing.T) {
	inVirtualTime(t, &scriptedCloud{pool: capacity.Pool{Settled: true}}, func(t *testing.T, p *pools) {
		if n, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 0, To: 3}); n != 3 || err != nil {
			t.Errorf("granted %d, %v, want 3", n, err)
		}
		if got := agents(t, p); got.Capacity != 3 || got.Growing || got.Settled {
			t.Errorf("capacity %d, growing %t, settled %t: want 3, no longer growing and not settled", got.Capacity, got.Growing, got.Settled)
		}
	})
}

func TestRefusalKeepsThePoolAway(t *testing.T) {
	refusal := &capacity.GrowError{Reason: "quota"}
	for name, tc := range map[string]struct {
		refusal *capacity.GrowError
		times   int
		want    time.Duration
	}{
		"the first time":            {refusal: refusal, times: 1, want: firstAway},
		"longer the third time":     {refusal: refusal, times: 3, want: 4 * firstAway},
		"never too long":            {refusal: refusal, times: 30, want: longestAway},
		"for as long as Azure says": {refusal: &capacity.GrowError{Reason: "throttled", RetryAfter: 30 * time.Minute}, times: 1, want: 30 * time.Minute},
		"not if it only changed":    {refusal: &capacity.GrowError{Reason: "changed", Changed: true}, times: 1, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{grow: func(int, int) error { return tc.refusal }}
			inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
				for range tc.times {
					if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 0, To: 3}); err == nil {
						t.Error("no error from a cloud that refuses")
					}
				}
				got := agents(t, p)
				if away := max(0, time.Until(got.AwayUntil)); away != tc.want {
					t.Errorf("away for %s, want %s", away, tc.want)
				}
				if tc.want > 0 && got.AwayReason != tc.refusal.Reason {
					t.Errorf("reason %q, want %q", got.AwayReason, tc.refusal.Reason)
				}
				// A pool that has changed is left alone until it was read.
				if got.Capacity != 0 || got.Growing != tc.refusal.Changed {
					t.Errorf("capacity %d, growing %t after a refusal, want 0 and growing %t", got.Capacity, got.Growing, tc.refusal.Changed)
				}
				p.refresh(t.Context())
				if got := agents(t, p); got.Growing {
					t.Error("still growing once it was read")
				}
			})
		})
	}
}

func TestWhatStillFitsIsTaken(t *testing.T) {
	cloud := &scriptedCloud{grow: func(_, to int) error {
		if to > 3 {
			return &capacity.GrowError{Reason: "quota", Fits: 3}
		}
		return nil
	}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		n, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 0, To: 8})
		if n != 3 || err != nil {
			t.Errorf("granted %d, %v, want 3", n, err)
		}
		if diff := cmp.Diff([][2]int{{0, 8}, {0, 3}}, cloud.asked); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
		if got := agents(t, p); got.Capacity != 3 || got.AwayReason != "quota" || !got.AwayUntil.After(time.Now()) {
			t.Errorf("capacity %d, away for %q until %s: want 3, and the pool left alone for the rest", got.Capacity, got.AwayReason, got.AwayUntil)
		}
	})
}

func TestLateFailureIsARefusal(t *testing.T) {
	cloud := &scriptedCloud{outcome: &capacity.GrowError{Reason: "no capacity in the region"}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 0, To: 3}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := agents(t, p); got.AwayReason != "no capacity in the region" {
			t.Errorf("away for %q, want the late reason", got.AwayReason)
		}
	})
}

// TestOlderReadsAreDiscarded: a list that was begun before a purchase must not
// hide it.
func TestOlderReadsAreDiscarded(t *testing.T) {
	cloud := &scriptedCloud{listTime: 10 * time.Second}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		go p.refresh(t.Context())
		time.Sleep(time.Second)
		if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 0, To: 3}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := agents(t, p); got.Capacity != 3 {
			t.Errorf("capacity %d after an older list, want 3", got.Capacity)
		}
		p.refresh(t.Context())
		if got := agents(t, p); got.Capacity != 3 {
			t.Errorf("capacity %d after a newer list, want 3", got.Capacity)
		}
	})
}

func TestDeletionLowersWhatIsKnown(t *testing.T) {
	cloud := &scriptedCloud{instances: []capacity.Instance{{ID: "1", VMID: "a", State: capacity.InstanceRunning}, {ID: "2", VMID: "b", State: capacity.InstanceRunning}}}
	cloud.pool.Capacity = 2
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		outcomes := make(chan error, 1)
		refs := []capacity.Ref{{ID: "1", VMID: "a"}}
		for range 2 { // a second request for the same machine counts once
			if err := p.delete(t.Context(), "agents", refs, func(err error) { outcomes <- err }); err != nil {
				t.Fatal(err)
			}
			if err := <-outcomes; err != nil {
				t.Errorf("outcome %v", err)
			}
		}
		got := agents(t, p)
		if got.Capacity != 1 || got.Instances[0].State != capacity.InstanceDeleting || got.Instances[1].State != capacity.InstanceRunning {
			t.Errorf("capacity %d, machines %+v: want 1, and the first on its way out", got.Capacity, got.Instances)
		}
	})
}

func TestReadingIsPatientAndFollowsWhatIsExpected(t *testing.T) {
	for name, tc := range map[string]struct {
		cloud *scriptedCloud
		want  int // lists in five minutes
	}{
		"nothing is expected":  {cloud: &scriptedCloud{}, want: 5},
		"machines are coming":  {cloud: &scriptedCloud{pool: capacity.Pool{Capacity: 2}}, want: 50},
		"nothing more comes":   {cloud: &scriptedCloud{pool: capacity.Pool{Capacity: 2, Settled: true}}, want: 5},
		"the cloud is away":    {cloud: &scriptedCloud{err: errors.New("IMDS does not answer")}, want: 50},
		"a machine is leaving": {cloud: &scriptedCloud{pool: capacity.Pool{Capacity: 1}, instances: []capacity.Instance{{State: capacity.InstanceDeleting}}}, want: 50},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, tc.cloud, func(t *testing.T, p *pools) {
				tc.cloud.lists = 0
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute-time.Second)
				defer cancel()
				p.run(ctx)
				if tc.cloud.lists != tc.want {
					t.Errorf("read %d times in five minutes, want %d", tc.cloud.lists, tc.want)
				}
			})
		})
	}
}

// Azure allows few lists of a set's machines: a pool where nothing is expected
// to change is left alone while another one is busy.
func TestOnlyWhatChangesIsListed(t *testing.T) {
	cloud := &scriptedCloud{others: []capacity.Pool{{Name: "big", Settled: true}}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		lists := func(want map[string]int, when string) {
			t.Helper()
			if diff := cmp.Diff(want, cloud.listed); diff != "" {
				t.Errorf("lists of machines %s (-want +got):\n%s", when, diff)
			}
			cloud.listed = map[string]int{}
		}
		lists(map[string]int{"agents": 1, "big": 1}, "at first")
		if _, err := p.grow(t.Context(), capacity.Grow{Pool: "agents", From: 0, To: 3}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			p.refresh(t.Context())
		}
		lists(map[string]int{"agents": 3}, "while machines come")
		cloud.pool.Settled, cloud.others[0].Capacity = true, 1
		p.refresh(t.Context())
		lists(map[string]int{"agents": 1, "big": 1}, "once one has settled and the other was changed by somebody")
		cloud.others[0].Capacity = 1
		p.refresh(t.Context())
		lists(map[string]int{}, "while nothing changes")
		p.setNodes(nil, true, claims(), nil)
		p.refresh(t.Context())
		lists(map[string]int{"agents": 1, "big": 1}, "when a node is of no known machine")
		time.Sleep(idleRefresh)
		p.refresh(t.Context())
		lists(map[string]int{"agents": 1, "big": 1}, "after a while")
	})
}

// A read that something else asks for just before the machines are due does not
// put their list off for another minute.
func TestAListIsNotPutOff(t *testing.T) {
	cloud := &scriptedCloud{pool: capacity.Pool{Settled: true}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), idleRefresh+minRefresh)
		defer cancel()
		time.AfterFunc(45*time.Second, p.soon)
		p.run(ctx)
		if got := cloud.listed["agents"]; got != 2 {
			t.Errorf("listed %d times in a little more than a minute, want at first and after a minute", got)
		}
	})
}

func TestWhatIsLearnedSurvivesTheLeader(t *testing.T) {
	inVirtualTime(t, &scriptedCloud{}, func(t *testing.T, p *pools) {
		shape := &fit.Shape{Labels: map[string]string{"a": "b"}, Allocatable: fit.Resources{MilliCPU: 7800, Memory: 1 << 34, Pods: 110}, CSI: &fit.CSI{Unknown: true}}
		for _, boot := range []time.Duration{90 * time.Second, 70 * time.Second, 200 * time.Second} {
			p.learn("agents", shape, boot)
		}
		status := shownShapes{}.status(capacity.Snapshot{Pools: p.snapshot()})

		next := newPools(p.cloud, time.Now, logr.Discard(), func() {})
		next.restore(status)
		if got := next.snapshot(); len(got) != 0 {
			t.Errorf("pools %v before the cloud was read, want none", got)
		}
		next.setNodes([]string{testVMID}, false, claims(testVMID), nil)
		next.refresh(t.Context())
		want := capacity.Known{VMIDs: []string{testVMID}, Pools: []string{"agents"}}
		if diff := cmp.Diff(want, p.cloud.(*scriptedCloud).known); diff != "" {
			t.Errorf("the cloud is told (-want +got):\n%s", diff)
		}
		got := agents(t, next)
		if got.BootTime != 90*time.Second {
			t.Errorf("boot time %s, want the median 90 s", got.BootTime)
		}
		if diff := cmp.Diff(shape, got.Shape); diff != "" {
			t.Errorf("shape (-want +got):\n%s", diff)
		}
	})
}

func TestFailureIsTold(t *testing.T) {
	cloud := &scriptedCloud{err: errors.New("IMDS does not answer")}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		if err := p.failure(); err == nil || err.Error() != "IMDS does not answer" {
			t.Errorf("failure %v, want the cloud's", err)
		}
		cloud.err = nil
		p.refresh(t.Context())
		if err := p.failure(); err != nil {
			t.Errorf("failure %v after a good read", err)
		}
	})
}
