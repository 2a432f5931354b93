package manager

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// lateBind is a pod on a node that is being deleted, and the decision that
// follows.
func lateBind(change func(*corev1.Pod)) (*observation, capacity.Decision) {
	pod := podOn("late", change)
	o := &observation{pods: map[types.UID]*corev1.Pod{pod.UID: pod}}
	return o, capacity.Decision{Evictions: []capacity.Eviction{{UID: pod.UID, Node: pod.Spec.NodeName}}}
}

func TestALateBindIsCountedOnceAndEvicted(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	o, d := lateBind(nil)
	for range 3 {
		w.act(o, d)
	}
	if got := testutil.ToFloat64(w.metrics.lateBinds); got != 1 {
		t.Errorf("tidegate_late_binds_total is %v, want 1", got)
	}
	if got := keys(w.lanes.pods); !slices.Equal(got, []string{"pod/uid-pod"}) {
		t.Errorf("actions %v, want the eviction", got)
	}
	w.act(&observation{}, capacity.Decision{})
	if len(w.late) != 0 {
		t.Errorf("remembered %v of pods that are gone", w.late)
	}
}

// TestAPodOnItsWayOutIsNotEvictedAgain: each attempt would be followed by a
// plan, and that by the next attempt, for as long as the pod takes.
func TestAPodOnItsWayOutIsNotEvictedAgain(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	o, d := lateBind(func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now })
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
		answer error
		result string
	}{
		"accepted":                   {result: "ok"},
		"a budget does not allow it": {answer: apierrors.NewTooManyRequests("budget", 1), result: "error"},
		"the pod has gone":           {answer: apierrors.NewNotFound(corev1.Resource("pods"), "late"), result: "conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			var sent *policyv1.Eviction
			w := newWorld(t, open404, interceptor.Funcs{
				SubResourceCreate: func(_ context.Context, _ client.Client, name string, _ client.Object, sub client.Object, _ ...client.SubResourceCreateOption) error {
					sent, _ = sub.(*policyv1.Eviction)
					return tc.answer
				},
			})
			// The error is what makes the dispatcher wait with the next attempt.
			if err := w.evict(t.Context(), podOn("late", nil)); !errors.Is(err, tc.answer) {
				t.Errorf("error %v, want %v", err, tc.answer)
			}
			if sent == nil || *sent.DeleteOptions.Preconditions.UID != "uid-pod" {
				t.Errorf("eviction %+v, want one of this very pod", sent)
			}
			if got := testutil.ToFloat64(w.metrics.writes.WithLabelValues("evict", tc.result)); got != 1 {
				t.Errorf("tidegate_writes_total of kind evict, result %s is %v, want 1", tc.result, got)
			}
		})
	}
}

// TestDeletion: a failure, at once or late, holds the node back and is told on
// it; it is never taken for a success.
func TestDeletion(t *testing.T) {
	for name, tc := range map[string]struct {
		atOnce, late error
	}{
		"done":            {},
		"refused at once": {atOnce: errors.New("403 no role")},
		"failed late":     {late: errors.New("the VM is locked")},
	} {
		t.Run(name, func(t *testing.T) {
			node := fencedNode()
			w := newWorld(t, open404, interceptor.Funcs{}, node)
			recorder := &events.FakeRecorder{Events: make(chan string, 10)}
			w.events = recorder
			synctest.Test(t, func(t *testing.T) {
				cloud := &scriptedCloud{deleteErr: tc.atOnce, outcome: tc.late}
				w.pools = newPools(cloud, time.Now, w.log, func() {})
				w.progress.failed(node.UID) // an earlier failure, to be forgotten on success
				o := &observation{nodes: map[string]*corev1.Node{node.Name: node}}
				step := commitStep()
				step.Kind = capacity.StepDelete
				w.delete(t.Context(), o, "agents", []capacity.Step{step})
				time.Sleep(2 * time.Minute)
			})
			want := tc.atOnce
			if want == nil {
				want = tc.late
			}
			failures := w.progress.nodes[node.UID].failures
			if want == nil {
				if failures != 0 || len(recorder.Events) != 0 {
					t.Errorf("%d failures, %d events of a deletion that was done", failures, len(recorder.Events))
				}
				return
			}
			if failures != 2 {
				t.Errorf("%d failures in a row, want 2", failures)
			}
			select {
			case told := <-recorder.Events:
				if !strings.Contains(told, "DeleteFailed") || !strings.Contains(told, want.Error()) {
					t.Errorf("event %q, want one that says %q", told, want)
				}
			default:
				t.Error("nobody is told")
			}
		})
	}
}

// TestStepsOnAnOldPicture: whatever the step, a node that has changed since the
// plan stays as it is, and the step is tried again after a pause.
func TestStepsOnAnOldPicture(t *testing.T) {
	for _, kind := range []capacity.StepKind{
		capacity.StepAdopt, capacity.StepMark, capacity.StepUnmark, capacity.StepRecordEmpty,
		capacity.StepRecordBusy, capacity.StepFence, capacity.StepUnfence, capacity.StepForget,
	} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t, open404, interceptor.Funcs{}, fencedNode())
			old := w.node(t)
			changed := old.DeepCopy()
			changed.Labels["changed"] = "meanwhile"
			if err := w.client.Update(t.Context(), changed); err != nil {
				t.Fatal(err)
			}
			want := w.node(t)
			step := commitStep()
			step.Kind = kind
			if err := w.perform(t.Context(), old, step); !isStale(err) {
				t.Errorf("error %v, want a conflict", err)
			}
			if got := w.node(t); got.ResourceVersion != want.ResourceVersion {
				t.Errorf("the node was written: %+v", got.ObjectMeta)
			}
		})
	}
}

// TestWritesHaveFailpointsAndAreCounted: before and after each write a test can
// end the process.
func TestWritesHaveFailpointsAndAreCounted(t *testing.T) {
	for _, kind := range []capacity.StepKind{
		capacity.StepAdopt, capacity.StepMark, capacity.StepUnmark, capacity.StepRecordEmpty, capacity.StepRecordBusy,
		capacity.StepFence, capacity.StepUnfence, capacity.StepCommit, capacity.StepForget,
	} {
		t.Run(string(kind), func(t *testing.T) {
			var names []string
			w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{}, fencedNode())
			w.failpoint = func(name string) { names = append(names, name) }
			step := commitStep()
			step.Kind, step.Why = kind, "test"
			if err := w.perform(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			if want := []string{string(kind) + ":before", string(kind) + ":after"}; !slices.Equal(names, want) {
				t.Errorf("failpoints %v, want %v", names, want)
			}
			if got := testutil.ToFloat64(w.metrics.writes.WithLabelValues(string(kind), "ok")); got != 1 {
				t.Errorf("tidegate_writes_total of kind %s is %v, want 1", kind, got)
			}
		})
	}
}

// TestAPodThatChangesWhileItIsReleasedKeepsItsGate: another gate may have to go
// first, or the pod may have to wait again.
func TestAPodThatChangesWhileItIsReleasedKeepsItsGate(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			var pod corev1.Pod
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), &pod); err != nil {
				return err
			}
			pod.Labels = map[string]string{"changed": "meanwhile"}
			if err := c.Update(ctx, &pod); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
	}, waiting())
	if err := w.release(t.Context(), w.pod(t), "", capacity.Release{Node: "n1"}); !isStale(err) {
		t.Errorf("error %v, want a conflict", err)
	}
	if !api.HasCapacityGate(w.pod(t)) {
		t.Error("the gate is gone")
	}
	if got := testutil.ToFloat64(w.metrics.released); got != 0 {
		t.Errorf("tidegate_released_pods_total is %v, want 0", got)
	}
}
