package manager

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlansReplaceWhatHasNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := newDispatcher(1, func() {})
		go d.run(ctx)
		var done []string
		act := func(key string) action {
			return action{key, func(context.Context) { time.Sleep(time.Second); done = append(done, key) }}
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
		slow := action{"node/n1", func(context.Context) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Minute)
			now.Add(-1)
			all.Add(1)
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

func TestWhatIsUnderWayIsFinishedAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := newDispatcher(1, func() {})
		finished, started := false, false
		d.replace([]action{
			{"a", func(ctx context.Context) {
				time.Sleep(time.Second)
				finished = ctx.Err() == nil
			}},
			{"b", func(context.Context) { started = true }},
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
