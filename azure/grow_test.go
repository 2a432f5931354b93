package azure

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

func growError(t *testing.T, err error) *capacity.GrowError {
	t.Helper()
	g, ok := errors.AsType[*capacity.GrowError](err)
	if !ok {
		t.Fatalf("error %v, want a *capacity.GrowError", err)
	}
	return g
}

func TestGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
		start := time.Now()
		wait, err := w.Grow(t.Context(), "agents", 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("Grow returned after %s, want as soon as Azure accepted", took)
		}
		if got := w.capacity(t, "agents"); got != 3 {
			t.Errorf("capacity %d, want 3", got)
		}
		states := func() (s []capacity.InstanceState) {
			instances, err := w.Instances(t.Context(), "agents")
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range instances {
				s = append(s, i.State)
			}
			return s
		}
		if diff := cmp.Diff([]capacity.InstanceState{"Running", "Creating", "Creating"}, states()); diff != "" {
			t.Errorf("states after the purchase (-want +got):\n%s", diff)
		}
		if err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]capacity.InstanceState{"Running", "Running", "Running"}, states()); diff != "" {
			t.Errorf("states after the outcome (-want +got):\n%s", diff)
		}
	})
}

// A pool is settled when no operation is under way, whether machines came of
// it or not.
func TestSettled(t *testing.T) {
	late := emulator.LateAllocationFailure(time.Minute)
	late.KeepCapacity = true
	cases := map[string]struct {
		effect   emulator.Effect
		machines int
	}{
		"machines came":                      {machines: 2},
		"none came, and the capacity stayed": {effect: emulator.Effect{Late: late}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
				w.emulated.AddFaults(emulator.Fault{Operation: actionWriteSet, Effect: tc.effect})
				wait, err := w.Grow(t.Context(), "agents", 0, 2)
				if err != nil {
					t.Fatal(err)
				}
				if got := w.pool(t, "agents"); got.Settled || got.Capacity != 2 {
					t.Errorf("pool %+v while machines come, want it not settled, with a capacity of 2", got)
				}
				_ = wait(t.Context()) // it may fail
				if got := w.pool(t, "agents"); !got.Settled || got.Capacity != 2 {
					t.Errorf("pool %+v at the end, want it settled, with a capacity of 2", got)
				}
				if got := len(w.refs(t, "agents")); got != tc.machines {
					t.Errorf("%d machines, want %d", got, tc.machines)
				}
			})
		})
	}
}

// pollOperation is the emulator's name for asking after an operation.
const pollOperation = "Microsoft.Compute/locations/operations/read"

// answer is a fault that makes the operation answer with an error.
func answer(operation string, status int, code, message string, retryAfter int) emulator.Fault {
	return emulator.Fault{Operation: operation, Effect: emulator.Effect{Error: &emulator.Error{
		Status: status, Code: code, Message: message, RetryAfterSeconds: retryAfter}}}
}

func TestGrowRefused(t *testing.T) {
	quota := []emulator.Quota{{Family: "standardDSv5Family", Limit: 100, UsedElsewhere: 68}}
	cases := map[string]struct {
		from, to int // from 1 to 5 if both are 0
		pool     string
		fault    emulator.Fault
		quotas   []emulator.Quota
		master   string
		want     capacity.GrowError
	}{
		"capacity is not as expected": {from: 2, to: 3,
			want: capacity.GrowError{Reason: "agents has a capacity of 1, not 2: someone else changed it", Changed: true}},
		"lower": {from: 1, to: 0,
			want: capacity.GrowError{Reason: "agents was to grow from 1 to 0, which is not growth"}},
		"lower than it is, from a stale number": {from: 0, to: 1,
			want: capacity.GrowError{Reason: "agents has a capacity of 1, not 0: someone else changed it", Changed: true}},
		"own set": {master: "agents",
			want: capacity.GrowError{Reason: "it is Tidegate's own scale set"}},
		"Flexible": {pool: "flex", from: 0, to: 1,
			want: capacity.GrowError{Reason: "its orchestration mode is Flexible; Tidegate needs a scale set in Uniform mode"}},
		"quota, and what it still allows": {quotas: quota,
			want: capacity.GrowError{Reason: "quota: standardDSv5Family 76/100 vCPU", Fits: 3}},
		"too many requests, without a time": {fault: answer(actionWriteSet, 429, "TooManyRequests", "Slow down.", 0),
			want: capacity.GrowError{Reason: "Azure limits the rate of requests", RetryAfter: time.Minute}},
		"no answer": {fault: emulator.Fault{Operation: "*", Effect: emulator.Effect{Drop: emulator.DropBefore}},
			want: capacity.GrowError{Reason: "Tidegate has no access to Azure"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tc.from == 0 && tc.to == 0 {
					tc.from, tc.to = 1, 5
				}
				if tc.pool == "" {
					tc.pool = "agents"
				}
				w := newWorld(t, emulator.Config{
					Master: emulator.Master{ScaleSet: tc.master}, Quotas: tc.quotas,
					ScaleSets: []emulator.ScaleSet{tagged("agents", 1), {Name: "flex", Flexible: true}},
				})
				if tc.fault.Operation != "" {
					w.emulated.AddFaults(tc.fault)
				}
				_, err := w.Grow(t.Context(), tc.pool, tc.from, tc.to)
				got := growError(t, err)
				if diff := cmp.Diff(tc.want, *got, cmpopts.IgnoreFields(capacity.GrowError{}, "Err")); diff != "" {
					t.Errorf("refusal (-want +got):\n%s\nerror: %v", diff, err)
				}
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("the error is not one line: %q", err)
				}
				if changes := w.events(emulator.CapacityChanged); len(changes) > 0 {
					t.Errorf("the capacity changed nevertheless: %v", changes)
				}
			})
		})
	}
}

// Two writers read the same set; the second one's If-Match fails and nothing
// of the first one's growth is lost.
func TestGrowRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
		other := w.client(t)
		w.before = func(r *http.Request) {
			if r.Method != http.MethodPatch {
				return
			}
			w.before = nil
			if _, err := other.Grow(t.Context(), "agents", 0, 4); err != nil {
				t.Errorf("the other writer: %v", err)
			}
		}
		_, err := w.Grow(t.Context(), "agents", 0, 2)
		if g := growError(t, err); !g.Changed {
			t.Errorf("refusal %+v, want Changed", g)
		}
		if got := w.capacity(t, "agents"); got != 4 {
			t.Errorf("capacity %d, want the other writer's 4", got)
		}
	})
}

// A growth without an answer is looked after, not repeated blindly: machines are
// bought once, and its outcome is known.
func TestGrowWithoutAnswer(t *testing.T) {
	cut := func(d emulator.Drop, n int) emulator.Fault {
		return emulator.Fault{Operation: actionWriteSet, Count: n, Effect: emulator.Effect{Drop: d}}
	}
	times := func(n int, f emulator.Fault) emulator.Fault { f.Count = n; return f }
	late := cut(emulator.DropAfter, 1)
	late.Effect.Late = emulator.LateAllocationFailure(time.Minute)
	late.Effect.Late.KeepFailed = true
	cases := map[string]struct {
		fault    emulator.Fault
		err      capacity.GrowError // at once
		outcome  capacity.GrowError // late
		capacity int
		patches  int
	}{
		"lost before the deed": {fault: cut(emulator.DropBefore, 2), capacity: 2, patches: 3},
		"lost after the deed":  {fault: cut(emulator.DropAfter, 1), capacity: 2, patches: 1},
		"lost after a deed that fails": {fault: late, capacity: 2, patches: 1,
			outcome: capacity.GrowError{Reason: "Azure could not provide the machines, for reasons that the scale set does not show"}},
		"lost every time": {fault: cut(emulator.DropBefore, 3), patches: 3,
			err: capacity.GrowError{Reason: "Tidegate has no access to Azure"}},
		"a gateway gives up":        {fault: times(1, answer(actionWriteSet, 504, "GatewayTimeout", "Too slow.", 0)), capacity: 2, patches: 2},
		"a gateway gives up always": {fault: answer(actionWriteSet, 504, "GatewayTimeout", "Too slow.", 0), patches: 3, err: capacity.GrowError{Reason: "Azure has a fault of its own", RetryAfter: 30 * time.Second}},
		"the token expires on its way": {fault: times(1, answer(actionWriteSet, 401, "ExpiredAuthenticationToken", "The access token expired.", 0)),
			capacity: 2, patches: 2},
		"the set was changed in between, but not its capacity": {fault: times(1, answer(actionWriteSet, 412, "PreconditionFailed", "The precondition failed.", 0)),
			capacity: 2, patches: 2},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
				w.emulated.AddFaults(tc.fault)
				wait, err := w.Grow(t.Context(), "agents", 0, 2)
				if tc.err.Reason != "" {
					if diff := cmp.Diff(tc.err, *growError(t, err), cmpopts.IgnoreFields(capacity.GrowError{}, "Err")); diff != "" {
						t.Errorf("refusal (-want +got):\n%s", diff)
					}
				} else if err != nil {
					t.Fatal(err)
				} else if err := wait(t.Context()); tc.outcome.Reason == "" && err != nil {
					t.Errorf("outcome %v", err)
				} else if tc.outcome.Reason != "" {
					if diff := cmp.Diff(tc.outcome, *growError(t, err), cmpopts.IgnoreFields(capacity.GrowError{}, "Err")); diff != "" {
						t.Errorf("outcome (-want +got):\n%s", diff)
					}
				}
				if n := w.sent(http.MethodPatch); n != tc.patches {
					t.Errorf("submitted %d times, want %d", n, tc.patches)
				}
				w.emulated.ClearFaults()
				if got := w.capacity(t, "agents"); got != tc.capacity {
					t.Errorf("capacity %d, want %d", got, tc.capacity)
				}
			})
		})
	}
}

// What cannot be found out either is not taken for a refusal: the pool is to be
// read first.
func TestGrowThatCannotBeFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
		w.emulated.AddFaults(
			emulator.Fault{Operation: actionReadSets, Skip: 1, Effect: emulator.Effect{Drop: emulator.DropBefore}},
			emulator.Fault{Operation: actionWriteSet, Effect: emulator.Effect{Drop: emulator.DropAfter}},
		)
		_, err := w.Grow(t.Context(), "agents", 0, 2)
		if g := growError(t, err); !g.Changed {
			t.Errorf("refusal %+v, want Changed", g)
		}
		if n := w.sent(http.MethodPatch); n != 1 {
			t.Errorf("submitted %d times, want once", n)
		}
	})
}

func TestGrowFailsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
		w.emulated.AddFaults(emulator.Fault{Operation: actionWriteSet, Effect: emulator.Effect{Late: emulator.LateAllocationFailure(90 * time.Second)}})
		wait, err := w.Grow(t.Context(), "agents", 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		// A fault of Azure's while waiting says nothing of the operation.
		fault := answer(pollOperation, 503, "ServerBusy", "Later.", 0)
		fault.Count = 7
		w.emulated.AddFaults(fault)
		start := time.Now()
		g := growError(t, wait(t.Context()))
		if want := "Azure has no room for this machine type in the region at present"; g.Reason != want {
			t.Errorf("reason %q, want %q", g.Reason, want)
		}
		if took := time.Since(start); took < 90*time.Second {
			t.Errorf("the outcome came after %s, before there was one", took)
		}
		if w.Ready() != nil {
			t.Errorf("a lack of machines is not a lack of access: %v", w.Ready())
		}
	})
}

func TestWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
		wait, err := w.Grow(t.Context(), "agents", 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("ended after %s, want 2 s", took)
		}
		if w.Ready() != nil {
			t.Errorf("giving up waiting says nothing of Azure: %v", w.Ready())
		}
	})
}

// What is submitted for one pool goes one after the other, so that the second
// reads what the first wrote; other pools do not wait.
func TestSubmissionsOfAPoolAreSerialised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0), tagged("big", 0)}})
		w.before = func(r *http.Request) {
			if r.Method == http.MethodPatch {
				time.Sleep(time.Second)
			}
		}
		grow := func(pool string, errs chan<- error) {
			_, err := w.Grow(t.Context(), pool, 0, 1)
			errs <- err
		}
		start := time.Now()
		agents, big := make(chan error, 2), make(chan error, 1)
		go grow("agents", agents)
		go grow("Agents", agents)
		go grow("big", big)
		if err := <-big; err != nil || time.Since(start) > time.Second {
			t.Errorf("big: %v after %s, want no error after 1 s", err, time.Since(start))
		}
		first, second := <-agents, <-agents
		if first == nil {
			first = second
		}
		want := "agents has a capacity of 1, not 0"
		if g := growError(t, first); !g.Changed || !strings.Contains(strings.ToLower(g.Reason), want) {
			t.Errorf("the second growth: %v, want %q", g, want)
		}
	})
}
