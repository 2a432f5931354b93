package emulator

import (
	"cmp"
	"math"
	"time"

	"golang.org/x/time/rate"
)

// Limits are request limits, each a token bucket. The defaults are those that
// Azure documents for a scale set ("Compute throttling limits"). Azure's table
// does not say whether reading a set and listing its instances share a bucket;
// here each has its own.
type Limits struct {
	// Off lifts every limit.
	Off bool `json:"off,omitempty"`
	// Updates of one scale set: 4 a minute, burst 12.
	Updates Limit `json:"updates,omitempty"`
	// Reads of one scale set: 12 a minute, burst 36.
	Reads Limit `json:"reads,omitempty"`
	// IMDS requests of one machine: 300 a minute, burst 5.
	IMDS Limit `json:"imds,omitempty"`
}

// Limit is one token bucket.
type Limit struct {
	PerMinute float64 `json:"perMinute"`
	Burst     int     `json:"burst"`
}

func (l *Limits) complete() {
	l.Updates = cmp.Or(l.Updates, Limit{PerMinute: 4, Burst: 12})
	l.Reads = cmp.Or(l.Reads, Limit{PerMinute: 12, Burst: 36})
	l.IMDS = cmp.Or(l.IMDS, Limit{PerMinute: 300, Burst: 5})
}

// throttled takes a token from the bucket of that name and returns 0, or, if
// it is empty, in how many seconds there will be one.
func (c *Cloud) throttled(bucket string, l Limit) (seconds int) {
	if c.cfg.Limits.Off {
		return 0
	}
	c.begin()
	defer c.end()
	b, ok := c.buckets[bucket]
	if !ok {
		b = rate.NewLimiter(rate.Limit(l.PerMinute/60), l.Burst)
		c.buckets[bucket] = b
	}
	r := b.ReserveN(c.now, 1)
	wait := r.DelayFrom(c.now)
	if wait == 0 {
		return 0
	}
	r.CancelAt(c.now)
	return ceilSeconds(wait)
}

func ceilSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
