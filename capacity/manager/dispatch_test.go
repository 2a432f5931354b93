package manager

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlansReplaceWhatHasNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := newDispatcher(1, func() {})
		go d.run(ctx)
		var done []string
		act := func(key string) action {
			return action{key: key, run: func(context.Context) error { time.Sleep(time.Second); done = append(done, key); return nil }}
		}
		d.replace([]action{act("a"), act("b")})
		synctest.Wait() // a is under way, b waits
		d.replace([]action{act("c")})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(done) != 2 || done[0] != "a" || done[1] != "c" {
			t.Errorf("done %v, want a, which was under way, and c of the newer plan", done)
		}
		cancel()
	})
}

func TestNothingIsDoneTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := newDispatcher(4, func() {})
		go d.run(ctx)
		var now, most, all atomic.Int32
		slow := action{key: "node/n1", run: func(context.Context) error {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Minute)
			now.Add(-1)
			all.Add(1)
			return nil
		}}
		for range 3 {
			d.replace([]action{slow})
			time.Sleep(time.Second)
		}
		time.Sleep(5 * time.Minute)
		if most.Load() != 1 || all.Load() != 2 {
			t.Errorf("%d at once and %d in all, want 1 at once: the one under way, and then the newest plan's", most.Load(), all.Load())
		}
		cancel()
	})
}

// TestAKeyRestsAfterASuccess: what comes meanwhile is done in one go.
func TestAKeyRestsAfterASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var done []string
		d := newDispatcher(2, func() {})
		act := func(what string) []action {
			return []action{{key: "delete/a", rest: deletionsApart, run: func(context.Context) error {
				done = append(done, fmt.Sprintf("%s after %s", what, time.Since(began)))
				return nil
			}}}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for i := range 4 {
				d.replace(act(fmt.Sprintf("plan %d", i)))
				time.Sleep(time.Second)
			}
			time.Sleep(deletionsApart)
			cancel()
		}()
		d.run(ctx)
		if diff := cmp.Diff([]string{"plan 0 after 0s", "plan 3 after 5s"}, done); diff != "" {
			t.Errorf("done (-want +got):\n%s", diff)
		}
	})
}

func TestWhatIsUnderWayIsFinishedAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := newDispatcher(1, func() {})
		finished, started := false, false
		d.replace([]action{
			{key: "a", run: func(ctx context.Context) error {
				time.Sleep(time.Second)
				finished = ctx.Err() == nil
				return nil
			}},
			{key: "b", run: func(context.Context) error { started = true; return nil }},
		})
		go func() {
			time.Sleep(100 * time.Millisecond)
			cancel()
		}()
		d.run(ctx)
		if !finished || started {
			t.Errorf("finished what was under way: %t, started another: %t", finished, started)
		}
	})
}

// TestFailuresAreNoHotLoop: every plan asks for the action again, and a plan
// follows each attempt.
func TestFailuresAreNoHotLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var d *dispatcher
		var attempts []time.Duration
		began := time.Now()
		act := action{key: "pod/a", run: func(context.Context) error {
			attempts = append(attempts, time.Since(began))
			return errors.New("a webhook refuses the write")
		}}
		others := 0
		other := action{key: "pod/b", run: func(context.Context) error { others++; return nil }}
		d = newDispatcher(2, func() { d.replace([]action{act}) })
		d.replace([]action{act, other})
		go d.run(ctx)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(attempts); n < 60 || n > 75 {
			t.Errorf("%d attempts in an hour, want one a minute after the first few", n)
		}
		if len(attempts) < 2 || attempts[1] != firstPause {
			t.Errorf("attempts after %v, want the second after %s", attempts[:min(3, len(attempts))], firstPause)
		}
		if others != 1 {
			t.Errorf("the other pod's action ran %d times, want 1", others)
		}
		cancel()
	})
}

func TestFailuresOfWhatIsGoneAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := newDispatcher(1, func() {})
		go d.run(ctx)
		d.replace([]action{{key: "pod/a", run: func(context.Context) error { return errors.New("no") }}})
		time.Sleep(time.Second)
		d.replace(nil)
		d.mu.Lock()
		if len(d.failures) != 0 || len(d.busy) != 0 {
			t.Errorf("failures %v, busy %v: want nothing remembered of a pod that is gone", d.failures, d.busy)
		}
		d.mu.Unlock()
		cancel()
	})
}

func TestASuccessEndsTheRowOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var attempts []time.Time
		act := action{key: "pod/a", run: func(context.Context) error {
			attempts = append(attempts, time.Now())
			if len(attempts) == 4 {
				return nil
			}
			return errors.New("no")
		}}
		var d *dispatcher
		d = newDispatcher(1, func() { d.replace([]action{act}) })
		d.replace([]action{act})
		go d.run(ctx)
		time.Sleep(time.Second)
		synctest.Wait()
		// 0 fails, 1 fails, 2 fails, 3 succeeds, 4 follows at once and fails.
		if len(attempts) < 6 {
			t.Fatalf("%d attempts, want 6 or more", len(attempts))
		}
		if pause := attempts[5].Sub(attempts[4]); pause != firstPause {
			t.Errorf("a pause of %s after the first failure since a success, want %s", pause, firstPause)
		}
		cancel()
	})
}

// TestWhatWaitsForItsKeyIsNotLost while others overtake it.
func TestWhatWaitsForItsKeyIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := newDispatcher(2, func() {})
		var mu sync.Mutex
		done := map[string]int{}
		act := func(key string, took time.Duration) action {
			return action{key: key, run: func(context.Context) error {
				time.Sleep(took)
				mu.Lock()
				defer mu.Unlock()
				done[key]++
				return nil
			}}
		}
		go d.run(ctx)
		d.replace([]action{act("a", time.Minute)})
		synctest.Wait() // a is under way
		d.replace([]action{act("a", time.Second), act("b", time.Second), act("c", time.Second)})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"a": 2, "b": 1, "c": 1}, done); diff != "" {
			t.Errorf("done (-want +got):\n%s", diff)
		}
		cancel()
	})
}
