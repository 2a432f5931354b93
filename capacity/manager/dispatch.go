package manager

import (
	"context"
	"sync"
)

// action is one thing to do. At most one action with a key is under way.
type action struct {
	key string
	run func(context.Context)
}

// dispatcher runs actions with a bounded number of workers. Each plan replaces
// what an earlier one left waiting, so that nothing is done on an old plan;
// what is under way is always finished.
type dispatcher struct {
	workers int
	done    func() // called after each action

	mu      sync.Mutex
	changed sync.Cond
	waiting []action
	running map[string]bool
	closed  bool
}

func newDispatcher(workers int, done func()) *dispatcher {
	d := &dispatcher{workers: workers, done: done, running: map[string]bool{}}
	d.changed.L = &d.mu
	return d
}

// replace sets what is waiting to be done.
func (d *dispatcher) replace(actions []action) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = actions
	d.changed.Broadcast()
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
				a.run(context.WithoutCancel(ctx))
				d.finished(a)
			}
		})
	}
	workers.Wait()
}

// next waits for an action whose key is not under way.
func (d *dispatcher) next() (action, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if d.closed {
			return action{}, false
		}
		for i, a := range d.waiting {
			if !d.running[a.key] {
				d.waiting = append(d.waiting[:i:i], d.waiting[i+1:]...)
				d.running[a.key] = true
				return a, true
			}
		}
		d.changed.Wait()
	}
}

func (d *dispatcher) finished(a action) {
	d.mu.Lock()
	delete(d.running, a.key)
	d.changed.Broadcast()
	d.mu.Unlock()
	d.done()
}
