// Package loop is the simulation's clock and the only source of its order. In a
// synctest bubble goroutines run freely in between, but whatever they do to the
// world or learn of it passes through here, one thing at a time and in an order
// that depends on the seed alone.
package loop

import (
	"container/heap"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// spread is added at random to every delay. No two things then happen at the
// same instant, not even a timer of the code under test that was set to a
// round time when an event of ours woke it: Go fires such timers in an order
// of its own.
const spread = time.Millisecond

// ErrEnded is what parked goroutines get once the simulation is over.
var ErrEnded = errors.New("the simulation has ended")

// Loop lets time pass from event to event. All methods but Park are to be
// called from events, or before Run.
type Loop struct {
	// Random is the seed's: every choice of the simulation comes from it.
	Random *rand.Rand
	// Between is called between events, when every goroutine waits.
	Between func()

	events events
	seq    uint64
	ended  chan struct{}

	mu      sync.Mutex
	parked  []call
	arrived chan struct{}
}

// call is a goroutine that waits for an answer.
type call struct {
	key   string
	begin func(release func())
	// released is closed when the goroutine may go on.
	released chan struct{}
}

// New returns the loop of a seed. It belongs to one bubble.
func New(seed uint64) *Loop {
	return &Loop{
		Random:  rand.New(rand.NewPCG(seed, 0)),
		Between: func() {},
		ended:   make(chan struct{}),
		arrived: make(chan struct{}, 1),
	}
}

// In schedules do for d from now.
func (l *Loop) In(d time.Duration, do func()) {
	l.At(time.Now().Add(d+time.Duration(l.Random.Int64N(int64(spread)))), do)
}

// At schedules do for a time; one that has passed means now.
func (l *Loop) At(t time.Time, do func()) {
	l.seq++
	heap.Push(&l.events, event{at: t, seq: l.seq, do: do})
}

// Every calls do after each interval, until it returns false.
func (l *Loop) Every(interval time.Duration, do func() bool) {
	l.In(interval, func() {
		if do() {
			l.Every(interval, do)
		}
	})
}

// Park keeps the calling goroutine waiting until an event releases it or ctx
// ends. Of the goroutines that park between two events, that with the lowest
// key comes first; begin is called then, as an event.
func (l *Loop) Park(ctx context.Context, key string, begin func(release func())) error {
	c := call{key: key, begin: begin, released: make(chan struct{})}
	l.mu.Lock()
	l.parked = append(l.parked, c)
	l.mu.Unlock()
	select {
	case l.arrived <- struct{}{}:
	default:
	}
	select {
	case <-c.released:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ended:
		return ErrEnded
	}
}

// Run lets events happen until done says so or the time is up, and reports
// whether done did.
func (l *Loop) Run(until time.Time, done func() bool) bool {
	for {
		synctest.Wait()
		for _, c := range l.arrivals() {
			c.begin(sync.OnceFunc(func() { close(c.released) }))
		}
		l.Between()
		if done() {
			return true
		}
		now := time.Now()
		if !now.Before(until) {
			return false
		}
		next := until
		if len(l.events) > 0 && l.events[0].at.Before(next) {
			next = l.events[0].at
		}
		if next.After(now) {
			l.sleep(next.Sub(now))
			continue
		}
		heap.Pop(&l.events).(event).do()
	}
}

// sleep returns after d, or as soon as somebody parks.
func (l *Loop) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.arrived:
	}
}

// arrivals returns who parked since the last call, in the order of their keys.
func (l *Loop) arrivals() []call {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.parked
	l.parked = nil
	slices.SortStableFunc(calls, func(a, b call) int { return strings.Compare(a.key, b.key) })
	return calls
}

// End gives ErrEnded to whoever is parked or will park.
func (l *Loop) End() { close(l.ended) }
