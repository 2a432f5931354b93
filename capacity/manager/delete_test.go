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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

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
				step := commitStep()
				step.Kind = capacity.StepDelete
				w.delete(t.Context(), "agents", []doomed{{step, node}})
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
		capacity.StepReturn, capacity.StepRecordModel,
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
		capacity.StepReturn, capacity.StepRecordModel,
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

// A machine that the cloud refuses to delete does not keep others for ever: what
// failed together is asked for in ever smaller parts.
func TestARefusedMachineDoesNotKeepTheOthers(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	rest := []types.UID{"a", "b", "c", "refused", "d", "e", "f", "g"}
	requests := 0
	for ; len(rest) > 1 && requests < 20; requests++ {
		var machines []doomed
		for _, uid := range rest {
			machines = append(machines, doomed{Step: capacity.Step{UID: uid}})
		}
		asked := w.together(machines)
		if slices.ContainsFunc(asked, func(d doomed) bool { return d.UID == "refused" }) {
			for _, d := range asked {
				w.progress.failed(d.UID)
			}
			continue
		}
		for _, d := range asked {
			rest = slices.DeleteFunc(rest, func(uid types.UID) bool { return uid == d.UID })
		}
	}
	if len(rest) != 1 {
		t.Errorf("after %d requests %v are left, want the refused one alone", requests, rest)
	}
	if requests > 10 {
		t.Errorf("it took %d requests, want few of them", requests)
	}
}
