package manager

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
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
		at         int           // which of its tries does, from 1; 0 for all
		done       bool          // the try is carried out all the same
		seen       bool          // the caches have seen the release
		later      time.Duration // how long afterwards
		during     view
		afterwards view
	}{
		"not seen yet":                             {during: view{Nominated: "n1"}, afterwards: view{Nominated: "n1"}},
		"refused":                                  {ungate: conflict, during: view{Nominated: "n1"}, afterwards: view{Gated: true}},
		"cut off once":                             {ungate: cut, at: 1, seen: true, during: view{Nominated: "n1"}, afterwards: view{}},
		"cut off once, and not seen yet":           {ungate: cut, at: 1, during: view{Nominated: "n1"}, afterwards: view{Nominated: "n1"}},
		"cut off when it was carried out":          {ungate: cut, at: 1, done: true, during: view{Nominated: "n1"}, afterwards: view{Nominated: "n1"}},
		"seen":                                     {seen: true, during: view{Nominated: "n1"}, afterwards: view{}},
		"cut off, so that it may come true yet":    {ungate: cut, later: requestLife - time.Second, during: view{Nominated: "n1"}, afterwards: view{Nominated: "n1"}},
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
			tries := 0
			w = newWorld(t, open404, interceptor.Funcs{
				Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
					during = look()
					tries++
					fails := tc.ungate != nil && (tc.at == 0 || tc.at == tries)
					if fails && !tc.done {
						return tc.ungate
					}
					if err := c.Patch(ctx, o, p, opts...); err != nil || !fails {
						return err
					}
					return tc.ungate
				},
			}, pod)
			synctest.Test(t, func(t *testing.T) {
				err := w.release(t.Context(), w.pod(t), "", capacity.Release{Node: "n1"})
				if failed := tc.ungate != nil && (tc.at == 0 || tc.done); failed != (err != nil) {
					t.Fatalf("error %v, want one: %t", err, failed)
				}
				if waits := tc.ungate != nil && tc.at == 0; waits != api.HasCapacityGate(w.pod(t)) {
					t.Errorf("the gate is on the pod: %t, want %t", !waits, waits)
				}
				if tc.seen {
					released := w.pod(t).DeepCopy()
					released.Status.NominatedNodeName = "" // somebody else's decision, that counts now
					w.store.set(released)
				}
				time.Sleep(tc.later)
				if during != tc.during {
					t.Errorf("a plan in between sees %+v, want %+v", during, tc.during)
				}
				if got := look(); got != tc.afterwards {
					t.Errorf("a plan afterwards sees %+v, want %+v", got, tc.afterwards)
				}
			})
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
