package manager

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// waiting is a pod at two gates that somebody else's condition is on, too.
func waiting() *corev1.Pod {
	pod := gatedPod(func(p *corev1.Pod) {
		p.ResourceVersion = ""
		p.Spec.SchedulingGates = append(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: "example.com/other"})
		p.Status.Conditions = []corev1.PodCondition{{Type: "example.com/Other", Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(created)}}
	})
	return &pod
}

func (w *world) pod(t *testing.T) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "work", Name: "frame"}, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// What Azure answers to a refusal is longer than what the API server takes.
func TestLongReasonsAreToldInShort(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{}, waiting())
	recorder := &events.FakeRecorder{Events: make(chan string, 1)}
	w.events = recorder
	w.explain(t.Context(), w.pod(t), capacity.Reason{Code: capacity.ReasonAway, Text: "refused: " + strings.Repeat("ü", 1000)})

	told := strings.TrimPrefix(<-recorder.Events, "Normal PoolRefused ")
	if len(told) > 1024 || !utf8.ValidString(told) || !strings.HasPrefix(told, "refused: ü") || !strings.HasSuffix(told, "...") {
		t.Errorf("the event's note of %d bytes is %q", len(told), told)
	}
}

func TestReleaseTakesOnlyOurGate(t *testing.T) {
	var writes []string
	w := newWorld(t, open404, interceptor.Funcs{}, waiting())
	w.failpoint = func(name string) { writes = append(writes, name) }
	w.release(t.Context(), w.pod(t), "", capacity.Release{Node: "n1"})

	got := w.pod(t)
	if diff := cmp.Diff([]corev1.PodSchedulingGate{{Name: "example.com/other"}}, got.Spec.SchedulingGates); diff != "" {
		t.Errorf("gates (-want +got):\n%s", diff)
	}
	if got.Status.NominatedNodeName != "n1" {
		t.Errorf("nominated %q, want n1", got.Status.NominatedNodeName)
	}
	if c := podCondition(&got.Status, "example.com/Other"); c == nil || c.Status != corev1.ConditionTrue {
		t.Errorf("somebody else's condition is %+v", c)
	}
	if c := podCondition(&got.Status, api.CapacityCondition); c == nil || c.Status != corev1.ConditionTrue || c.Reason != "Released" {
		t.Errorf("our condition is %+v, want it to say released", c)
	}
	// The node is nominated first: the scheduler may take the pod as soon as
	// the gate is gone.
	if want := []string{"nominate:before", "nominate:after", "ungate:before", "ungate:after"}; !slices.Equal(writes, want) {
		t.Errorf("writes %v, want %v", writes, want)
	}
}

func TestReleaseOnAnOldPictureDoesNothing(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{}, waiting())
	old := w.pod(t)
	changed := old.DeepCopy()
	changed.Labels = map[string]string{"changed": "meanwhile"}
	if err := w.client.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	w.release(t.Context(), old, "", capacity.Release{Node: "n1"})
	if got := w.pod(t); !api.HasCapacityGate(got) || got.Status.NominatedNodeName != "" {
		t.Errorf("gates %v, nominated %q: want the pod as it was", got.Spec.SchedulingGates, got.Status.NominatedNodeName)
	}
}

func TestReasonsAreWrittenOnce(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{}, waiting())
	reason := capacity.Reason{Code: capacity.ReasonMaximum, Text: "agents is at its maximum of 6"}
	if says(w.pod(t), reason) {
		t.Error("the pod says so before it was told")
	}
	w.explain(t.Context(), w.pod(t), reason)
	got := w.pod(t)
	c := podCondition(&got.Status, api.CapacityCondition)
	if c == nil || c.Status != corev1.ConditionFalse || c.Reason != "PoolAtMaximum" || c.Message != reason.Text {
		t.Errorf("condition %+v, want the reason", c)
	}
	if !says(got, reason) {
		t.Error("the reason would be written again")
	}
}

// Two managers that both lead and think otherwise must not write without a pause.
func TestReasonsAreWrittenWithPauses(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{}, waiting())
	w.pools.err = nil
	w.act(w.observation(), capacity.Decision{Reasons: []capacity.Reason{{UID: w.pod(t).UID, Code: capacity.ReasonMaximum, Text: "agents is at its maximum of 6"}}})
	i := slices.IndexFunc(w.lanes.reasons.waiting, func(a action) bool { return strings.HasPrefix(a.key, "reason/") })
	if i < 0 || w.lanes.reasons.waiting[i].rest < time.Second {
		t.Errorf("%+v are to be done, want the pod's reason, at most once a second", w.lanes.reasons.waiting)
	}
}

// TestThatAGangHasStartedIsWrittenDown, so that the next leader knows when the
// pods that started are gone.
func TestThatAGangHasStartedIsWrittenDown(t *testing.T) {
	conflict := apierrors.NewConflict(corev1.Resource("pods"), "a", errors.New("it has changed"))
	for name, write := range map[string]func(*testing.T, *world){
		"with why it waits": func(t *testing.T, w *world) {
			if err := w.explain(t.Context(), w.pod(t), capacity.Reason{Code: capacity.ReasonMaximum, Text: "agents is at its maximum of 6"}); err != nil {
				t.Fatal(err)
			}
		},
		"with a release that stops halfway": func(t *testing.T, w *world) {
			if err := w.release(t.Context(), w.pod(t), "", capacity.Release{Node: "n1"}); !errors.Is(err, conflict) {
				t.Fatalf("error %v, want %v", err, conflict)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := waiting()
			pod.Annotations[api.GangAnnotation], pod.Annotations[api.GangSizeAnnotation] = "g", "2"
			w := newWorld(t, open404, interceptor.Funcs{
				Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
					return conflict
				},
			}, pod)
			gangSize := func(s *store) int {
				s.set(w.pod(t))
				var snapshot capacity.Snapshot
				s.fill(&snapshot, nobody)
				return snapshot.Waiting[0].GangSize
			}
			gangSize(w.store)
			write(t, w)
			if got := gangSize(newStore(time.Now)); got != 2 {
				t.Errorf("the gang needs %d pods although none was released", got)
			}
			first := w.pod(t)
			first.UID, first.Spec.SchedulingGates = "uid-first", nil
			first.Status.Conditions = []corev1.PodCondition{{Type: api.CapacityCondition, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now())}}
			w.store.set(first)
			gangSize(w.store)
			write(t, w)
			if got := gangSize(newStore(time.Now)); got != 0 {
				t.Errorf("the gang needs %d pods to a leader that never saw the first one", got)
			}
		})
	}
}

// A nomination is a hint; a pool that a pod asks for is more.
func TestReleaseKeepsToThePoolThatIsAskedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		asked, planned string
		want           map[string]string
	}{
		"asked for, in other letters": {asked: "agents", planned: "Agents", want: map[string]string{"disk": "ssd", api.PoolLabel: "Agents"}},
		"not asked for":               {planned: "Agents", want: map[string]string{"disk": "ssd"}},
		"released without room":       {asked: "agents", want: map[string]string{"disk": "ssd"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := waiting()
			pod.Spec.NodeSelector = map[string]string{"disk": "ssd"}
			if tc.asked != "" {
				metav1.SetMetaDataAnnotation(&pod.ObjectMeta, api.PoolAnnotation, tc.asked)
			}
			w := newWorld(t, open404, interceptor.Funcs{}, pod)
			if err := w.release(t.Context(), w.pod(t), tc.planned, capacity.Release{}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, w.pod(t).Spec.NodeSelector); diff != "" {
				t.Errorf("node selector (-want +got):\n%s", diff)
			}
		})
	}
}
