package azure

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// However often it is asked, Azure is not asked more often than it allows, and
// so never says 429.
func TestKeepsToAzuresLimits(t *testing.T) {
	const minutes = 10
	ctxFor := func(t *testing.T) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), minutes*time.Minute)
		t.Cleanup(cancel)
		return ctx
	}
	cases := map[string]struct {
		do     func(context.Context, *world) error
		method string
		want   int
	}{
		"lists of machines": {
			do: func(ctx context.Context, w *world) error {
				_, err := w.Instances(ctx, "agents")
				return err
			},
			method: http.MethodGet, want: readBurst + minutes*readsPerMinute,
		},
		"growths": {
			do: func() func(context.Context, *world) error {
				n := 0
				return func(ctx context.Context, w *world) error {
					_, err := w.Grow(ctx, "agents", n, n+1)
					n++
					return err
				}
			}(),
			method: http.MethodPatch, want: updateBurst + minutes*updatesPerMinute,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
				ctx := ctxFor(t)
				var err error
				for err == nil {
					err = tc.do(ctx, w)
				}
				if !strings.Contains(err.Error(), "Azure limits the rate of") || strings.Contains(err.Error(), armHost) {
					t.Errorf("error %v, want one that says that its turn comes too late", err)
				}
				if n := w.sent(tc.method); n < tc.want-1 || n > tc.want {
					t.Errorf("%d requests in %d minutes, want %d, as many as Azure allows", n, minutes, tc.want)
				}
			})
		})
	}
}

// Deletions wait for their turn before they read what they delete.
func TestDeletionWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 20)}})
		refs := w.refs(t, "agents")
		start := time.Now()
		for i := range updateBurst + 2 {
			if _, err := w.Delete(t.Context(), "agents", refs[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 25*time.Second || took > 35*time.Second {
			t.Errorf("two deletions more than the burst took %s, want half a minute", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		lists := w.sent(http.MethodGet)
		if _, err := w.Delete(ctx, "agents", refs[15:16]); err == nil || !strings.Contains(err.Error(), "Azure limits the rate of changes of agents") {
			t.Errorf("error %v, want one that says that its turn comes too late", err)
		}
		if n := w.sent(http.MethodGet) - lists; n != 0 {
			t.Errorf("%d reads for a deletion whose turn has not come", n)
		}
	})
}

// The list of a large set takes many requests. While others read it all the time,
// deletions get through all the same.
func TestDeletionsFromALargeSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 100)}, PageSize: 10})
		refs := w.refs(t, "agents")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			for ctx.Err() == nil {
				_, _ = w.Instances(ctx, "agents") // the last one is cut short
			}
			close(ended)
		}()
		time.Sleep(10 * time.Minute)
		for i := range 5 {
			soon, cancel := context.WithTimeout(ctx, 2*time.Minute)
			if _, err := w.Delete(soon, "agents", refs[i:i+1]); err != nil {
				t.Errorf("deletion %d: %v", i+1, err)
			}
			cancel()
		}
		cancel()
		<-ended
	})
}

// One set's limit is no other's.
func TestLimitsAreOfOneSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0), tagged("big", 0)}})
		for range readBurst {
			if _, err := w.Instances(t.Context(), "agents"); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		if _, err := w.Instances(t.Context(), "big"); err != nil || time.Since(start) > time.Second {
			t.Errorf("big was read after %s, %v: want at once", time.Since(start), err)
		}
		if _, err := w.Instances(t.Context(), "Agents"); err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("agents was read after %s, %v: want after 5 s", time.Since(start), err)
		}
	})
}

// A growth never waits for a deletion of the same pool that hangs, nor a
// deletion for a growth.
func TestNothingStuckBlocksTheOther(t *testing.T) {
	grow := func(ctx context.Context, w *world, _ []capacity.Ref) error {
		_, err := w.Grow(ctx, "agents", 2, 4)
		return err
	}
	remove := func(ctx context.Context, w *world, refs []capacity.Ref) error {
		_, err := w.Delete(ctx, "agents", refs[:1])
		return err
	}
	// hangs is true for the first request that the stuck one sends so.
	hangs := func(method, suffix string) func(*http.Request) bool {
		first := true
		return func(r *http.Request) bool {
			hit := first && r.Method == method && strings.HasSuffix(r.URL.Path, suffix)
			first = first && !hit
			return hit
		}
	}
	endless := emulator.Effect{Endless: true}
	cases := map[string]struct {
		stuck, other func(context.Context, *world, []capacity.Ref) error
		hangs        func(*http.Request) bool
		fault        emulator.Fault
	}{
		"a deletion whose list hangs":        {stuck: remove, other: grow, hangs: hangs(http.MethodGet, "/virtualMachines")},
		"a deletion whose submission hangs":  {stuck: remove, other: grow, hangs: hangs(http.MethodPost, "/delete")},
		"a growth whose read hangs":          {stuck: grow, other: remove, hangs: hangs(http.MethodGet, "/agents")},
		"a growth whose submission hangs":    {stuck: grow, other: remove, hangs: hangs(http.MethodPatch, "/agents")},
		"a growth that never ends":           {stuck: grow, other: remove, fault: emulator.Fault{Operation: actionWriteSet, Count: 1, Effect: endless}},
		"a growth that is refused for hours": {stuck: grow, other: remove, fault: answer(actionWriteSet, 429, "TooManyRequests", "No.", 7200)},
		"a deletion refused for hours":       {stuck: remove, other: grow, fault: answer(actionDelete, 429, "TooManyRequests", "No.", 7200)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 2)}})
				refs := w.refs(t, "agents")
				if tc.fault.Operation != "" {
					w.emulated.AddFaults(tc.fault)
				}
				w.before = func(r *http.Request) {
					if tc.hangs != nil && tc.hangs(r) {
						<-r.Context().Done()
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					_ = tc.stuck(ctx, w, refs) // how it ends is not the point
					close(ended)
				}()
				synctest.Wait()
				start := time.Now()
				if err := tc.other(t.Context(), w, refs); err != nil || time.Since(start) > time.Second {
					t.Errorf("the other one ended after %s: %v", time.Since(start), err)
				}
				cancel()
				<-ended
			})
		})
	}
}

// A growth is accepted while a deletion never ends.
func TestGrowthBesideAnEndlessDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 2)}})
		w.emulated.AddFaults(emulator.Fault{Operation: actionDelete, Effect: emulator.Effect{Endless: true}})
		deleted, err := w.Delete(t.Context(), "agents", w.refs(t, "agents")[:1])
		if err != nil {
			t.Fatal(err)
		}
		grown, err := w.Grow(t.Context(), "agents", 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := grown(t.Context()); err != nil {
			t.Errorf("the growth: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := deleted(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the deletion ended: %v", err)
		}
	})
}
