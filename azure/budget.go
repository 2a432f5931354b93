package azure

import (
	"context"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Azure's own limits for each scale set; Tidegate waits for its turn rather
// than run into them. Whether reading a set and listing its instances share a
// limit Azure does not say: here they do.
// Source: Azure documentation, "Compute throttling limits".
const (
	readsPerMinute, readBurst     = 12, 36
	updatesPerMinute, updateBurst = 4, 12
)

// budget is what may still be sent to each scale set.
type budget struct {
	perMinute float64
	burst     int

	mu   sync.Mutex
	sets map[string]*rate.Limiter
}

// take waits until one more request to the set is due. It fails at once if ctx
// ends before that.
func (b *budget) take(ctx context.Context, kind, set string) error {
	_, err := b.takeAll(ctx, kind, set, 1)
	return err
}

// takeAll waits until n more requests are due all at once, or as many as ever are, and
// returns how many that is.
func (b *budget) takeAll(ctx context.Context, kind, set string, n int) (int, error) {
	n = min(n, b.burst)
	b.mu.Lock()
	key := strings.ToLower(set)
	limiter, ok := b.sets[key]
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(b.perMinute/60), b.burst)
		if b.sets == nil {
			b.sets = map[string]*rate.Limiter{}
		}
		b.sets[key] = limiter
	}
	b.mu.Unlock()
	now := time.Now()
	turn := limiter.ReserveN(now, n)
	wait := turn.DelayFrom(now)
	if wait == 0 {
		return n, nil
	}
	if deadline, ok := ctx.Deadline(); ok && !now.Add(wait).Before(deadline) {
		turn.CancelAt(now)
		return 0, &throttledError{kind + " of " + set, wait}
	}
	return n, pause(ctx, wait)
}
