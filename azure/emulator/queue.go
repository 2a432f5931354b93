package emulator

import (
	"container/heap"
	"time"
)

// timer is something that will happen to the Cloud. do runs with c.mu held.
type timer struct {
	at time.Time
	// seq keeps timers of the same instant in the order of their making.
	seq uint64
	do  func()
}

// timers is a heap, earliest first.
type timers []timer

func (q timers) Len() int { return len(q) }
func (q timers) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].seq < q[j].seq
	}
	return q[i].at.Before(q[j].at)
}
func (q timers) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *timers) Push(x any)   { *q = append(*q, x.(timer)) }
func (q *timers) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// after schedules do for d from now.
func (c *Cloud) after(d time.Duration, do func()) {
	c.seq++
	heap.Push(&c.timers, timer{at: c.now.Add(d), seq: c.seq, do: do})
	select {
	case c.rescheduled <- struct{}{}:
	default:
	}
}

// advance lets everything happen that is due at now.
func (c *Cloud) advance(now time.Time) {
	for len(c.timers) > 0 && !c.timers[0].at.After(now) {
		t := heap.Pop(&c.timers).(timer)
		// A timer that was due earlier happened then, not when somebody looked.
		if t.at.After(c.now) {
			c.now = t.at
		}
		t.do()
	}
	if now.After(c.now) {
		c.now = now
	}
}

// Advance lets everything happen that is due at now, and tells the observers.
func (c *Cloud) Advance(now time.Time) {
	c.mu.Lock()
	c.advance(now)
	c.end()
}

// Next returns when the next thing will happen, and false if nothing will.
func (c *Cloud) Next() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return time.Time{}, false
	}
	return c.timers[0].at, true
}
