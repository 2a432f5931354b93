package manager

import (
	"context"
	"runtime/pprof"
	"sync"
	"time"
)

// action is one thing to do. At most one action with a key is under way, and
// after one that failed its key is left alone for a while.
type action struct {
	key string
	run func(context.Context) error
	// rest is how long the key is left alone after a success.
	rest time.Duration
}

// ActionLabel is the profiler label, also in the contexts of requests, that
// names the action under way, such as "node/NAME" or "grow/POOL".
const ActionLabel = "action"

const (
	// firstPause and longestPause bound how long a key is left alone after a
	// failure; it doubles each time. The first is short since the usual failure
	// is a conflict, which is over as soon as the caches have caught up.
	firstPause   = 50 * time.Millisecond
	longestPause = time.Minute
)

// dispatcher runs actions with a bounded number of workers. Each plan replaces
// what an earlier one left waiting, so that nothing is done on an old plan;
// what is under way is always finished.
type dispatcher struct {
	workers int
	done    func() // called when an action with the same key may follow

	mu       sync.Mutex
	changed  sync.Cond
	waiting  []action
	busy     map[string]bool // keys under way, or left alone after that
	failures map[string]int  // in a row, by key
	closed   bool
}

func newDispatcher(workers int, done func()) *dispatcher {
	d := &dispatcher{workers: workers, done: done, busy: map[string]bool{}, failures: map[string]int{}}
	d.changed.L = &d.mu
	return d
}

// replace sets what is waiting to be done; the slice is the dispatcher's from
// then on.
func (d *dispatcher) replace(actions []action) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = actions
	d.forget()
	// Most plans leave nothing to do: then no worker need wake.
	for range min(len(actions), d.workers) {
		d.changed.Signal()
	}
}

// forget drops the failures of what is no longer wanted.
func (d *dispatcher) forget() {
	if len(d.failures) == 0 {
		return
	}
	wanted := make(map[string]bool, len(d.waiting))
	for _, a := range d.waiting {
		wanted[a.key] = true
	}
	for key := range d.failures {
		if !wanted[key] && !d.busy[key] {
			delete(d.failures, key)
		}
	}
}

// run works until ctx ends, and returns when what was under way is finished.
// Actions get a context that does not end with ctx: none is left half done.
func (d *dispatcher) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.closed = true
		d.changed.Broadcast()
	})
	defer stop()
	var workers sync.WaitGroup
	for range d.workers {
		workers.Go(func() {
			for {
				a, ok := d.next()
				if !ok {
					return
				}
				// A profile shows which action the time went to, and a transport
				// for which one it carries a request.
				pprof.Do(context.WithoutCancel(ctx), pprof.Labels(ActionLabel, a.key), func(ctx context.Context) {
					d.finished(a, a.run(ctx))
				})
			}
		})
	}
	workers.Wait()
}

// next waits for an action whose key is not busy.
func (d *dispatcher) next() (action, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if d.closed {
			return action{}, false
		}
		for i, a := range d.waiting {
			if !d.busy[a.key] {
				// Only the few before it move, not the thousands behind it.
				copy(d.waiting[1:i+1], d.waiting[:i])
				d.waiting = d.waiting[1:]
				d.busy[a.key] = true
				return a, true
			}
		}
		d.changed.Wait()
	}
}

func (d *dispatcher) finished(a action, err error) {
	if err == nil && a.rest == 0 {
		d.free(a.key, true)
		return
	}
	pause := a.rest
	if err != nil {
		d.mu.Lock()
		pause = min(firstPause<<min(d.failures[a.key], 20), longestPause)
		d.failures[a.key]++
		d.mu.Unlock()
	}
	time.AfterFunc(pause, func() { d.free(a.key, err == nil) })
}

// free lets the next action with the key begin.
func (d *dispatcher) free(key string, succeeded bool) {
	d.mu.Lock()
	delete(d.busy, key)
	if succeeded {
		delete(d.failures, key)
	}
	d.changed.Signal()
	d.mu.Unlock()
	d.done()
}
