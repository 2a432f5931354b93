package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// world is the agent of the machine agents_1, of three, in virtual time.
type world struct {
	t          *testing.T
	cloud      *emulator.Cloud
	kubernetes *fake.Clientset
	imdsDown   atomic.Bool
	approvals  atomic.Int32 // requests that approve something

	mu  sync.Mutex
	log []string
}

// run runs the agent while the test goes on.
func run(t *testing.T, test func(*world)) {
	t.Helper()
	runOn(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, test)
}

// runOn runs the agent on that node.
func runOn(t *testing.T, node *corev1.Node, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cloud, err := emulator.NewCloud(emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, cloud: cloud, kubernetes: fake.NewClientset(
			node, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}},
		)}
		metadata, err := azure.NewMetadata(azure.Options{IMDSEndpoint: "http://imds.test" + emulator.IMDSPath(cloud.VMs()[1].VMID), Transport: w})
		if err != nil {
			t.Fatal(err)
		}
		log := funcr.New(func(_, args string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.log = append(w.log, args)
		}, funcr.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go New("n1", w.kubernetes.CoreV1().Nodes(), metadata, log).Run(ctx)
		test(w)
	})
}

// RoundTrip implements http.RoundTripper for the emulated IMDS.
func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	if w.imdsDown.Load() || req.URL.Host != "imds.test" {
		return nil, fmt.Errorf("nobody answers at %s", req.URL.Host)
	}
	if req.Method == http.MethodPost {
		w.approvals.Add(1)
	}
	in := req.Clone(req.Context())
	in.RequestURI = req.URL.RequestURI()
	if in.Body == nil {
		in.Body = io.NopCloser(strings.NewReader(""))
	}
	recorder := httptest.NewRecorder()
	w.cloud.IMDSHandler().ServeHTTP(recorder, in)
	return recorder.Result(), nil
}

// said returns what the agent has logged since the last call.
func (w *world) said() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := w.log
	w.log = nil
	return said
}

// pass lets time pass, in which the agent looks at least once.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) schedule(kind string, notice time.Duration, ids ...string) string {
	w.t.Helper()
	id, err := w.cloud.Schedule(emulator.ScheduledEvent{Type: kind, Set: "agents", InstanceIDs: ids, Notice: metav1.Duration{Duration: notice}})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// node returns what the node says, and checks that no other node says anything.
func (w *world) node() *corev1.Node {
	w.t.Helper()
	other, err := w.kubernetes.CoreV1().Nodes().Get(w.t.Context(), "n2", metav1.GetOptions{})
	if err != nil || len(other.Annotations) != 0 {
		w.t.Fatalf("the other node says %v (%v)", other.Annotations, err)
	}
	node, err := w.kubernetes.CoreV1().Nodes().Get(w.t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return node
}

func (w *world) wantReport(want ...api.Interruption) {
	w.t.Helper()
	if diff := cmp.Diff(want, api.Interruptions(w.node())); diff != "" {
		w.t.Errorf("report (-want +got):\n%s", diff)
	}
}

func (w *world) annotate(annotation, value string) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, annotation, value)
	if value == "" {
		patch = fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, annotation)
	}
	if _, err := w.kubernetes.CoreV1().Nodes().Patch(w.t.Context(), "n1", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// approved returns which machines were approved to be interrupted.
func (w *world) approved() (machines []string) {
	for _, e := range w.cloud.History() {
		if e.Kind == emulator.EventApproved {
			machines = append(machines, e.InstanceID+" by "+e.By)
		}
	}
	return machines
}

func TestReport(t *testing.T) {
	for name, tc := range map[string]struct {
		kind      string
		machines  []string
		reported  bool
		resources []string
	}{
		"a preemption":               {kind: "Preempt", machines: []string{"1"}, reported: true, resources: []string{"agents_1"}},
		"a termination":              {kind: "Terminate", machines: []string{"1"}, reported: true, resources: []string{"agents_1"}},
		"a reboot with others":       {kind: "Reboot", machines: []string{"2", "1"}, reported: true, resources: []string{"agents_1", "agents_2"}},
		"a redeployment with others": {kind: "Redeploy", machines: []string{"0", "1"}, reported: true, resources: []string{"agents_0", "agents_1"}},
		"a freeze":                   {kind: "Freeze", machines: []string{"1"}},
		"of another machine only":    {kind: "Preempt", machines: []string{"0", "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.pass(time.Minute)
				at := time.Now().Add(5 * time.Minute)
				id := w.schedule(tc.kind, 5*time.Minute, tc.machines...)
				w.pass(interval)
				if !tc.reported {
					if said := w.node().Annotations; len(said) != 0 {
						t.Errorf("the node says %v", said)
					}
					return
				}
				event := api.Interruption{ID: id, Type: tc.kind, Resources: tc.resources, NotBefore: metav1.NewTime(at.Local())}
				w.wantReport(event)
				if !api.Returns(tc.kind) {
					return // the machine will be gone, and its agent with it
				}
				w.pass(5 * time.Minute) // it has started
				w.wantReport(event)
				w.pass(10 * time.Second) // it is over
				w.wantReport()
				if _, left := w.node().Annotations[api.InterruptionsAnnotation]; left {
					t.Error("the annotation is left empty")
				}
			})
		})
	}
}

// An event that has started has no time any more.
func TestReportOfWhatHasStarted(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)
	at := metav1.NewTime(now.Truncate(time.Second))
	earlier := metav1.NewTime(at.Add(-time.Minute))
	for name, tc := range map[string]struct {
		before []api.Interruption
		want   metav1.Time
	}{
		"it keeps the time that was reported": {before: []api.Interruption{{ID: "e0", NotBefore: at}, {ID: "e1", NotBefore: earlier}}, want: earlier},
		"else it happens now":                 {want: at},
	} {
		t.Run(name, func(t *testing.T) {
			got := reportOf([]azure.ScheduledEvent{{ID: "e1", Type: "Reboot", Started: true, Resources: []string{"agents_1"}}}, tc.before, now)
			want := []api.Interruption{{ID: "e1", Type: "Reboot", Resources: []string{"agents_1"}, NotBefore: tc.want}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReportIsPutRight(t *testing.T) {
	run(t, func(w *world) {
		w.schedule("Reboot", 10*time.Minute, "1")
		w.pass(interval)
		want := api.Interruptions(w.node())
		for name, value := range map[string]string{"removed": "", "overwritten": "nothing"} {
			w.annotate(api.InterruptionsAnnotation, value)
			w.pass(interval)
			if diff := cmp.Diff(want, api.Interruptions(w.node())); diff != "" || len(want) != 1 {
				t.Errorf("%s: report (-want +got):\n%s", name, diff)
			}
		}
	})
}

func TestReportOfAnEarlierLifeIsTakenBack(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{
		api.InterruptionsAnnotation: `[{"id":"old","type":"Reboot","resources":["agents_1"],"notBefore":"2000-01-01T00:00:00Z"}]`,
	}}}
	runOn(t, node, func(w *world) {
		w.pass(interval)
		w.wantReport()
	})
}

// An agent with nothing to say costs the API server nothing.
func TestQuietAgent(t *testing.T) {
	run(t, func(w *world) {
		w.pass(time.Hour)
		if n := len(w.kubernetes.Actions()); n != 1 {
			t.Errorf("%d requests to the API server in an hour, want one at the start", n)
		}
	})
}

func TestApproval(t *testing.T) {
	for name, tc := range map[string]struct {
		change   func(*api.Interruption)
		approved []string
	}{
		"word for word":               {change: func(*api.Interruption) {}, approved: []string{"1 by agents_1", "2 by agents_1"}},
		"of another event":            {change: func(i *api.Interruption) { i.ID = "other" }},
		"for fewer machines":          {change: func(i *api.Interruption) { i.Resources = i.Resources[:1] }},
		"of another kind of event":    {change: func(i *api.Interruption) { i.Type = "Reboot" }},
		"of an event at another time": {change: func(i *api.Interruption) { i.NotBefore = metav1.NewTime(i.NotBefore.Add(time.Second)) }},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.schedule("Preempt", 10*time.Minute, "1", "2")
				w.pass(time.Minute)
				if got := w.approved(); got != nil {
					t.Fatalf("approved without the manager: %v", got)
				}
				event := api.Interruptions(w.node())[0]
				tc.change(&event)
				w.annotate(api.ApprovedAnnotation, api.EncodeInterruptions([]api.Interruption{event}))
				w.pass(time.Minute)
				if diff := cmp.Diff(tc.approved, w.approved()); diff != "" {
					t.Errorf("approved (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// An event that has started is not approved once more while it is still listed.
func TestApprovalOfWhatHasStarted(t *testing.T) {
	run(t, func(w *world) {
		w.schedule("Reboot", 10*time.Minute, "1")
		w.pass(interval)
		w.annotate(api.ApprovedAnnotation, w.node().Annotations[api.InterruptionsAnnotation])
		w.pass(time.Minute)
		if n := w.approvals.Load(); n != 1 {
			t.Errorf("%d requests approve the event, want one", n)
		}
	})
}

func TestApprovalIsTriedAgain(t *testing.T) {
	run(t, func(w *world) {
		w.schedule("Preempt", 10*time.Minute, "1")
		w.pass(interval)
		w.cloud.AddFaults(emulator.Fault{ // the next read passes, the approval after it fails
			Operation: emulator.IMDSScheduledEvents, Skip: 1, Count: 1,
			Effect: emulator.Effect{Error: &emulator.Error{Status: http.StatusInternalServerError, Code: "oops"}},
		})
		w.annotate(api.ApprovedAnnotation, w.node().Annotations[api.InterruptionsAnnotation])
		w.pass(time.Minute)
		if diff := cmp.Diff([]string{"1 by agents_1"}, w.approved()); diff != "" {
			t.Errorf("approved (-want +got):\n%s", diff)
		}
		if said := strings.Join(w.said(), "\n"); !strings.Contains(said, "approve scheduled event") || !strings.Contains(said, "HTTP 500") {
			t.Errorf("the log says %q", said)
		}
	})
}

// A failure is logged when it begins and when it is over, and what was missed
// is made good.
func TestFailures(t *testing.T) {
	for name, fail := range map[string]func(*world) (mend func()){
		"IMDS is down": func(w *world) func() {
			w.imdsDown.Store(true)
			return func() { w.imdsDown.Store(false) }
		},
		"the API server is down": func(w *world) func() {
			var up atomic.Bool
			w.kubernetes.PrependReactor("*", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
				return !up.Load(), nil, errors.New("nobody answers")
			})
			return func() { up.Store(true) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.pass(time.Minute)
				mend := fail(w)
				w.schedule("Reboot", 10*time.Minute, "1")
				w.said()
				w.pass(time.Minute)
				if said := w.said(); len(said) != 1 || !strings.Contains(said[0], "nobody answers") {
					t.Errorf("in the first minute it logs %q", said)
				}
				mend()
				w.pass(longestPause)
				if got := api.Interruptions(w.node()); len(got) != 1 {
					t.Errorf("afterwards the report is %+v", got)
				}
				if said := strings.Join(w.said(), "\n"); !strings.Contains(said, "watched again") {
					t.Errorf("afterwards it logs %q", said)
				}
			})
		})
	}
}
