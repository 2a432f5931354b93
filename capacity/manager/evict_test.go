package manager

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// lateBind is a pod on a node that is being deleted, and the decision that
// follows.
func lateBind(w *world, change func(*corev1.Pod)) (*observation, capacity.Decision) {
	pod := podOn("late", change)
	w.store.set(pod)
	o := w.observation()
	return o, capacity.Decision{Evictions: []capacity.Eviction{{UID: pod.UID, Node: pod.Spec.NodeName, Late: true}}}
}

// TestALateBindIsCountedOnceAndEvicted, and only when the API server says that
// the pod is what the caches show: they may lag behind the live read.
func TestALateBindIsCountedOnceAndEvicted(t *testing.T) {
	var answer error
	w := newWorld(t, open404, interceptor.Funcs{
		SubResourceCreate: func(_ context.Context, _ client.Client, _ string, _ client.Object, sub client.Object, _ ...client.SubResourceCreateOption) error {
			if got := sub.(*policyv1.Eviction).DeleteOptions.Preconditions.ResourceVersion; got == nil || *got != "7" {
				t.Errorf("eviction of version %v, want of 7 as the caches show it", got)
			}
			return answer
		},
	}, committedNode())
	seen := func(p *corev1.Pod) { p.ResourceVersion = "7" }
	o, d := lateBind(w, seen)
	w.act(o, d)
	if got := keys(w.lanes.pods); !slices.Equal(got, []string{"pod/uid-pod"}) {
		t.Errorf("actions %v, want the eviction", got)
	}
	for _, step := range []struct {
		answer error
		want   float64
	}{
		{answer: apierrors.NewConflict(corev1.Resource("pods"), "late", errors.New("it has finished")), want: 0},
		{answer: apierrors.NewTooManyRequests("budget", 1), want: 1},
		{want: 1},
	} {
		answer = step.answer
		if err := w.evict(t.Context(), podOn("late", seen), d.Evictions[0]); !errors.Is(err, answer) {
			t.Errorf("error %v, want %v", err, answer)
		}
		if got := testutil.ToFloat64(w.metrics.lateBinds); got != step.want {
			t.Errorf("tidegate_late_binds_total is %v after the answer %v, want %v", got, answer, step.want)
		}
	}
	w.store.remove(podOn("late", nil))
	w.act(o, capacity.Decision{})
	if len(w.late.set) != 0 {
		t.Errorf("remembered %v of pods that are gone", w.late.set)
	}
}

// TestANodeThatCameBackEvictsNobody: the caches may still show it committed.
func TestANodeThatCameBackEvictsNobody(t *testing.T) {
	for name, nodes := range map[string][]client.Object{"it came back": {fencedNode()}, "it is gone": nil} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, open404, interceptor.Funcs{
				SubResourceCreate: func(context.Context, client.Client, string, client.Object, client.Object, ...client.SubResourceCreateOption) error {
					t.Error("the pod is evicted")
					return nil
				},
			}, nodes...)
			_, d := lateBind(w, nil)
			if err := w.evict(t.Context(), podOn("late", nil), d.Evictions[0]); err != nil {
				t.Error(err)
			}
			if got := testutil.ToFloat64(w.metrics.lateBinds); got != 0 {
				t.Errorf("tidegate_late_binds_total is %v", got)
			}
		})
	}
}

// TestAPodOnItsWayOutIsNotEvictedAgain: each attempt would be followed by a
// plan, and that by the next attempt, for as long as the pod takes.
func TestAPodOnItsWayOutIsNotEvictedAgain(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	o, d := lateBind(w, func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now })
	w.act(o, d)
	if got := keys(w.lanes.pods); len(got) != 0 {
		t.Errorf("actions %v on a pod that is going", got)
	}
	if got := testutil.ToFloat64(w.metrics.lateBinds); got != 1 {
		t.Errorf("tidegate_late_binds_total is %v, want 1: it did land there", got)
	}
}

func TestEviction(t *testing.T) {
	for name, tc := range map[string]struct {
		answer      error
		late        bool
		result      string
		interrupted float64
		told        string
	}{
		"accepted":                   {result: "ok", interrupted: 1, told: "Warning Evicted evicted from node agents000001: Azure wants it"},
		"of a late bind":             {late: true, result: "ok", told: "Warning Evicted evicted from node agents000001: Azure wants it"},
		"a budget does not allow it": {answer: apierrors.NewTooManyRequests("budget", 1), result: "error", told: "Warning EvictionRefused a PodDisruptionBudget does not let it go yet: Azure wants it"},
		"the pod has gone":           {answer: apierrors.NewNotFound(corev1.Resource("pods"), "late"), result: "conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			var sent *policyv1.Eviction
			w := newWorld(t, open404, interceptor.Funcs{
				SubResourceCreate: func(_ context.Context, _ client.Client, name string, _ client.Object, sub client.Object, _ ...client.SubResourceCreateOption) error {
					sent, _ = sub.(*policyv1.Eviction)
					return tc.answer
				},
			}, committedNode())
			recorder := &events.FakeRecorder{Events: make(chan string, 10)}
			w.events = recorder
			e := capacity.Eviction{Node: "agents000001", Why: "Azure wants it", Late: tc.late}
			// The error is what makes the dispatcher wait with the next attempt.
			if err := w.evict(t.Context(), podOn("late", nil), e); !errors.Is(err, tc.answer) {
				t.Errorf("error %v, want %v", err, tc.answer)
			}
			if sent == nil || *sent.DeleteOptions.Preconditions.UID != "uid-pod" {
				t.Errorf("eviction %+v, want one of this very pod", sent)
			}
			if got := testutil.ToFloat64(w.metrics.writes.WithLabelValues("evict", tc.result)); got != 1 {
				t.Errorf("tidegate_writes_total of kind evict, result %s is %v, want 1", tc.result, got)
			}
			if got := testutil.ToFloat64(w.metrics.interrupted); got != tc.interrupted {
				t.Errorf("tidegate_interrupted_pods_total is %v, want %v", got, tc.interrupted)
			}
			close(recorder.Events)
			if told := <-recorder.Events; told != tc.told {
				t.Errorf("event %q, want %q", told, tc.told)
			}
		})
	}
}

// What is evicted because of an interruption is no late bind, and goes in the
// order of the decision.
func TestInterruptedPodsAreEvictedInOrder(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	var d capacity.Decision
	for _, uid := range []types.UID{"young", "old", "gone"} {
		d.Evictions = append(d.Evictions, capacity.Eviction{UID: uid})
		if uid != "gone" {
			w.store.set(podOn(string(uid), func(p *corev1.Pod) { p.UID = uid }))
		}
	}
	w.act(w.observation(), d)
	var order []string
	for _, a := range w.lanes.pods.waiting {
		order = append(order, a.key)
	}
	if want := []string{"pod/young", "pod/old"}; !slices.Equal(order, want) {
		t.Errorf("actions %v, want %v", order, want)
	}
	if got := testutil.ToFloat64(w.metrics.lateBinds); got != 0 {
		t.Errorf("tidegate_late_binds_total is %v", got)
	}
}

// What was evicted is not evicted again while the caches do not show it yet.
func TestEvictionIsNotRepeated(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{
		SubResourceCreate: func(context.Context, client.Client, string, client.Object, client.Object, ...client.SubResourceCreateOption) error {
			return nil
		},
	}, committedNode())
	o, d := lateBind(w, nil)
	if err := w.evict(t.Context(), podOn("late", nil), d.Evictions[0]); err != nil {
		t.Fatal(err)
	}
	w.act(o, d)
	if got := keys(w.lanes.pods); len(got) != 0 {
		t.Errorf("actions %v on a pod that was evicted", got)
	}
	w.store.remove(podOn("late", nil))
	w.act(&observation{store: w.store}, capacity.Decision{})
	if w.evicted.has(d.Evictions[0].UID) {
		t.Error("a pod that is gone is remembered")
	}
}
