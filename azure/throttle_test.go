package azure

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// As long as Retry-After says nothing of the kind is sent, and afterwards it
// is; nothing else waits for it.
func TestStaysAwayAfter429(t *testing.T) {
	requests := map[string]struct {
		action string
		do     func(context.Context, *world, []capacity.Ref) error
	}{
		"reading the sets": {actionReadSets, func(ctx context.Context, w *world, _ []capacity.Ref) error {
			_, err := w.Pools(ctx, capacity.Known{})
			return err
		}},
		"listing machines": {actionReadInstances, func(ctx context.Context, w *world, _ []capacity.Ref) error {
			_, err := w.Instances(ctx, "agents")
			return err
		}},
		"growing": {actionWriteSet, func(ctx context.Context, w *world, _ []capacity.Ref) error {
			_, err := w.Grow(ctx, "agents", 2, 3)
			return err
		}},
		"deleting": {actionDelete, func(ctx context.Context, w *world, refs []capacity.Ref) error {
			_, err := w.Delete(ctx, "agents", refs[:1])
			return err
		}},
	}
	for name, request := range requests {
		for _, seconds := range []int{1, 59, 600, 1800} {
			t.Run(fmt.Sprintf("%s, %d s", name, seconds), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 2), tagged("big", 0)}})
					refs := w.refs(t, "agents")
					fault := answer(request.action, 429, "TooManyRequests", "Slow down.", seconds)
					fault.Count = 1 // whatever else is sent succeeds
					w.emulated.AddFaults(fault)
					wait := time.Duration(seconds) * time.Second
					until := time.Now().Add(wait)
					for _, after := range []time.Duration{0, wait / 2, wait/2 - time.Millisecond} {
						time.Sleep(after)
						err := request.do(t.Context(), w, refs)
						if throttled, ok := errors.AsType[*throttledError](err); !ok || throttled.wait != time.Until(until) {
							t.Errorf("error %v, want that Azure limits the rate for another %s", err, time.Until(until))
						}
					}
					if request.action == actionWriteSet {
						if _, err := w.Grow(t.Context(), "big", 0, 1); err != nil {
							t.Errorf("the limit of one set stopped another: %v", err)
						}
					}
					time.Sleep(time.Millisecond)
					if err := request.do(t.Context(), w, refs); err != nil {
						t.Errorf("once the time is over: %v", err)
					}
				})
			})
		}
	}
}
