package azure

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// polls counts the questions after long-running operations.
func (w *world) polls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.requests {
		if strings.Contains(r, "/operations/") {
			n++
		}
	}
	return n
}

// The outcome is asked for as seldom as Azure wishes.
func TestWaitFollowsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := tagged("agents", 0)
		slow.BootTime = emulator.Between(4*time.Minute, 4*time.Minute) // provisioned after half of it
		w := newWorld(t, emulator.Config{
			ScaleSets: []emulator.ScaleSet{slow},
			PollAfter: metav1.Duration{Duration: 30 * time.Second},
		})
		wait, err := w.Grow(t.Context(), "agents", 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.polls(); n > 6 {
			t.Errorf("%d polls in 2 minutes with a Retry-After of 30 s, want 5 or so", n)
		}
	})
}

// An operation whose state can never be read is given up, not waited for.
func TestWaitGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
		wait, err := w.Grow(t.Context(), "agents", 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		w.emulated.AddFaults(answer(pollOperation, http.StatusInternalServerError, "InternalError", "Oops.", 0))
		g := growError(t, wait(t.Context()))
		if g.Reason != "Azure has a fault of its own" {
			t.Errorf("refusal %v, want Azure's fault", g)
		}
	})
}

// 429 while waiting is obeyed for as long as it says, and then the wait goes on.
func TestWaitSurvives429(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
		wait, err := w.Grow(t.Context(), "agents", 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		fault := answer(pollOperation, http.StatusTooManyRequests, "TooManyRequests", "Slow down.", 300)
		fault.Count = 1
		w.emulated.AddFaults(fault)
		start := time.Now()
		if err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 5*time.Minute || w.polls() > 3 {
			t.Errorf("%d polls within %s, want none during the 5 minutes of Retry-After", w.polls(), took)
		}
	})
}
