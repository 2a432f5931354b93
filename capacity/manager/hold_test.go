package manager

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// TestAReleaseUnderWayHoldsItsPlace: what a plan sees of the pod in between.
func TestAReleaseUnderWayHoldsItsPlace(t *testing.T) {
	type view struct {
		Gated     bool
		Nominated string
	}
	conflict := apierrors.NewConflict(corev1.Resource("pods"), "a", errors.New("it has changed"))
	fault := apierrors.NewInternalError(errors.New("the datastore does not answer"))
	cut := errors.New("connection reset")
	for name, tc := range map[string]struct {
		ungate     error         // what the last write answers
		seen       bool          // the caches have seen the release
		later      time.Duration // how long afterwards
		during     view
		afterwards view
	}{
		"not seen yet":                          {during: view{Nominated: "n1"}, afterwards: view{Nominated: "n1"}},
		"refused":                               {ungate: conflict, during: view{Nominated: "n1"}, afterwards: view{Gated: true}},
		"seen":                                  {seen: true, during: view{Nominated: "n1"}, afterwards: view{}},
		"cut off, so that it may come true yet": {ungate: cut, later: requestLife - time.Second, during: view{Nominated: "n1"}, afterwards: view{Nominated: "n1"}},
		"cut off, and it can no longer come true":  {ungate: cut, later: requestLife, during: view{Nominated: "n1"}, afterwards: view{Gated: true}},
		"answered with a fault, perhaps after all": {ungate: fault, during: view{Nominated: "n1"}, afterwards: view{Nominated: "n1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var w *world
			look := func() view {
				var snapshot capacity.Snapshot
				w.store.fill(&snapshot, nobody)
				p := snapshot.Waiting[0]
				return view{p.Gated, p.Nominated}
			}
			var during view
			pod := waiting()
			pod.Spec.SchedulingGates = pod.Spec.SchedulingGates[:1]
			clock := time.Now()
			w = newWorld(t, open404, interceptor.Funcs{
				Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
					during = look()
					if tc.ungate != nil {
						return tc.ungate
					}
					return c.Patch(ctx, o, p, opts...)
				},
			}, pod)
			w.store.now = func() time.Time { return clock }
			if err := w.release(t.Context(), w.pod(t), "", capacity.Release{Node: "n1"}); !errors.Is(err, tc.ungate) {
				t.Fatalf("error %v, want %v", err, tc.ungate)
			}
			if tc.seen {
				released := w.pod(t).DeepCopy()
				released.Status.NominatedNodeName = "" // somebody else's decision, that counts now
				w.store.set(released)
			}
			clock = clock.Add(tc.later)
			if during != tc.during {
				t.Errorf("a plan in between sees %+v, want %+v", during, tc.during)
			}
			if got := look(); got != tc.afterwards {
				t.Errorf("a plan afterwards sees %+v, want %+v", got, tc.afterwards)
			}
		})
	}
}

// TestNothingIsHeldOfAPodThatIsGone or was released before its action began.
func TestNothingIsHeldOfAPodThatIsGone(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{}, waiting())
	pod := w.pod(t)
	w.store.hold(pod.UID, "n1")
	w.store.remove(pod)
	released := pod.DeepCopy()
	released.UID, released.Spec.SchedulingGates = "uid-released", []corev1.PodSchedulingGate{}
	w.store.set(released)
	w.store.hold(released.UID, "n1")
	w.store.hold("uid-unknown", "n1")
	if len(w.store.held) != 0 {
		t.Errorf("held: %v, want nothing", w.store.held)
	}
}
