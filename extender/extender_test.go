package extender

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

func TestFilter(t *testing.T) {
	marked := newNode("marked")
	marked.Annotations = map[string]string{api.RetiringAnnotation: api.Retirement{Reason: "idle"}.Encode()}
	fenced := newNode("fenced")
	fenced.Labels[api.RetiredLabel] = "token"
	interrupted := func(name string, ago time.Duration) *corev1.Node {
		n := newNode(name)
		n.Annotations = map[string]string{api.InterruptionsAnnotation: api.EncodeInterruptions([]api.Interruption{{
			ID: "e1", Type: api.InterruptionPreempt, Resources: []string{"agents_1"}, NotBefore: metav1.NewTime(noon.Add(-ago)),
		}})}
		return n
	}
	e := newExtender(t, []*corev1.Node{newNode("open"), marked, fenced, interrupted("preempted", -30*time.Second), interrupted("forgotten", 2*time.Hour)}, nil)
	all := []string{"open", "marked", "fenced", "preempted", "forgotten", "unknown"}

	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want extenderv1.ExtenderFilterResult
	}{
		"new pod": {
			pod: newPod("p"),
			want: extenderv1.ExtenderFilterResult{
				NodeNames:                  &[]string{"open", "forgotten", "unknown"},
				FailedAndUnresolvableNodes: extenderv1.FailedNodesMap{"marked": RefusalText, "fenced": RefusalText, "preempted": RefusalText},
			},
		},
		"a DaemonSet's pod comes to a marked and to an interrupted node, not to a fenced one": {
			pod: ownedBy(newPod("p"), "apps/v1", "DaemonSet"),
			want: extenderv1.ExtenderFilterResult{
				NodeNames:                  &[]string{"open", "marked", "preempted", "forgotten", "unknown"},
				FailedAndUnresolvableNodes: extenderv1.FailedNodesMap{"fenced": RefusalText},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got extenderv1.ExtenderFilterResult
			ask(t, e, FilterPath, tc.pod, all, &got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// An answer with neither NodeNames nor Nodes would reject every node without
// a word: also when none passes, the list is there and empty.
func TestFilterAnswersWithAListWhenNoNodePasses(t *testing.T) {
	fenced := newNode("fenced")
	fenced.Labels[api.RetiredLabel] = "token"
	var got extenderv1.ExtenderFilterResult
	ask(t, newExtender(t, []*corev1.Node{fenced}, nil), FilterPath, newPod("p"), []string{"fenced"}, &got)
	if diff := cmp.Diff(&[]string{}, got.NodeNames); diff != "" {
		t.Errorf("NodeNames (-want +got):\n%s", diff)
	}
}

func TestFilterPassesEveryNodeOnDoubt(t *testing.T) {
	for name, store := range map[string]NodeStore{
		"cache error":    failingStore{},
		"foreign object": strangeStore{},
	} {
		t.Run(name, func(t *testing.T) {
			e := newExtender(t, nil, nil)
			e.Nodes = store
			var got extenderv1.ExtenderFilterResult
			ask(t, e, FilterPath, newPod("p"), []string{"a", "b"}, &got)
			if diff := cmp.Diff(extenderv1.ExtenderFilterResult{NodeNames: &[]string{"a", "b"}}, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrioritize(t *testing.T) {
	server := newNode("server")
	server.Labels = nil
	web := bound(newPod("web"), "pinned")
	frame := bound(ownedBy(newPod("frame"), "batch/v1", "Job"), "busy")
	frame.Annotations = map[string]string{api.ExpectedDurationAnnotation: "1h"}
	e := newExtender(t, []*corev1.Node{server, newNode("pinned"), newNode("busy"), newNode("idle")}, []*corev1.Pod{web, frame})
	all := []string{"idle", "busy", "pinned", "server"}

	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want extenderv1.HostPriorityList
	}{
		"long-lived pod": {
			pod:  newPod("api"),
			want: extenderv1.HostPriorityList{{Host: "idle"}, {Host: "busy", Score: 2}, {Host: "pinned", Score: 5}, {Host: "server", Score: 10}},
		},
		"batch pod": {
			pod:  ownedBy(newPod("next-frame"), "batch/v1", "Job"),
			want: extenderv1.HostPriorityList{{Host: "idle"}, {Host: "busy", Score: 2}, {Host: "pinned", Score: 10}, {Host: "server", Score: 5}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got extenderv1.HostPriorityList
			ask(t, e, PrioritizePath, tc.pod, all, &got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrioritizeHasNoOpinionOnDoubt(t *testing.T) {
	for name, spoil := range map[string]func(*Extender){
		"unknown node":   func(*Extender) {},
		"cache error":    func(e *Extender) { e.Nodes = failingStore{} },
		"foreign object": func(e *Extender) { e.Nodes = strangeStore{} },
	} {
		t.Run(name, func(t *testing.T) {
			e := newExtender(t, []*corev1.Node{newNode("a")}, nil)
			spoil(e)
			got := extenderv1.HostPriorityList{{Host: "stale"}}
			ask(t, e, PrioritizePath, newPod("p"), []string{"a", "b"}, &got)
			if len(got) != 0 {
				t.Errorf("scores %v, want none", got)
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	pod, err := json.Marshal(newPod("p"))
	if err != nil {
		t.Fatal(err)
	}
	nodesOnly := fmt.Sprintf(`{"Pod":%s,"Nodes":{"items":[]}}`, pod)
	for name, tc := range map[string]struct {
		method, contentType, body string
		path                      string
		wantCode                  int
		wantSentence              string
	}{
		"malformed JSON":       {body: `{"Pod":`, path: FilterPath, wantCode: 400, wantSentence: "the body is not an extender request"},
		"empty body":           {body: ``, path: PrioritizePath, wantCode: 400, wantSentence: "the body is not an extender request"},
		"wrong types":          {body: `{"Pod":[]}`, path: FilterPath, wantCode: 400, wantSentence: "the body is not an extender request"},
		"no pod":               {body: `{"NodeNames":["a"]}`, path: FilterPath, wantCode: 400, wantSentence: "the request has no Pod"},
		"wrong method":         {method: http.MethodGet, path: FilterPath, wantCode: 405, wantSentence: "send a POST request"},
		"wrong content type":   {contentType: "text/plain", body: `{}`, path: FilterPath, wantCode: 415, wantSentence: "send application/json"},
		"10 MB":                {body: `"` + strings.Repeat("x", 10<<20) + `"`, path: FilterPath, wantCode: 413, wantSentence: "the body is larger"},
		"filter, Nodes only":   {body: nodesOnly, path: FilterPath, wantCode: 200, wantSentence: "nodeCacheCapable: true"},
		"prioritize, the same": {body: nodesOnly, path: PrioritizePath, wantCode: 400, wantSentence: "nodeCacheCapable: true"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, newExtender(t, nil, nil))
			method, contentType := tc.method, tc.contentType
			if method == "" {
				method = http.MethodPost
			}
			if contentType == "" {
				contentType = "application/json"
			}
			req, err := http.NewRequest(method, server.URL+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", contentType)
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.wantCode || !strings.Contains(string(text), tc.wantSentence) {
				t.Errorf("answered %d %q, want %d and %q", resp.StatusCode, text, tc.wantCode, tc.wantSentence)
			}
		})
	}
}

// FuzzFilter sends any body to both verbs: the answer is JSON or a 4xx.
func FuzzFilter(f *testing.F) {
	f.Add([]byte(`{"Pod":{"metadata":{"name":"p"}},"NodeNames":["a","b"]}`))
	f.Add([]byte(`{"Pod":{},"NodeNames":[]}`))
	f.Add([]byte(`{"Pod":{},"Nodes":{"items":[{}]}}`))
	f.Add([]byte(`{"Pod":{"spec":{"activeDeadlineSeconds":-1}},"NodeNames":["a","a"]}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"Pod"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for path, handler := range newExtender(t, []*corev1.Node{newNode("a")}, []*corev1.Pod{bound(newPod("p"), "a")}).Handlers() {
			req := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			if ok := w.Code == 200 && json.Valid(w.Body.Bytes()) || w.Code >= 400 && w.Code < 500; !ok {
				t.Errorf("%s answered %d %q", path, w.Code, w.Body)
			}
		}
	})
}

// BenchmarkPrioritize is one request over HTTP handlers, without the network:
// 1,000 nodes with 10 pods each.
func BenchmarkPrioritize(b *testing.B) { benchmark(b, PrioritizePath) }

// BenchmarkFilter is the same for filter.
func BenchmarkFilter(b *testing.B) { benchmark(b, FilterPath) }

func benchmark(b *testing.B, path string) {
	var nodes []*corev1.Node
	var pods []*corev1.Pod
	var names []string
	for i := range 1000 {
		node := newNode(fmt.Sprintf("agents-%06d", i))
		nodes, names = append(nodes, node), append(names, node.Name)
		for j := range 10 {
			pod := ownedBy(bound(newPod(fmt.Sprintf("pod-%d-%d", i, j)), node.Name), "batch/v1", "Job")
			pod.Annotations = map[string]string{api.ExpectedDurationAnnotation: "10m"}
			pods = append(pods, pod)
		}
	}
	handler := newExtender(b, nodes, pods).Handlers()[path]
	body, err := json.Marshal(extenderv1.ExtenderArgs{Pod: newPod("new"), NodeNames: &names})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			b.Fatalf("answered %d %s", w.Code, w.Body)
		}
	}
}

func newExtender(tb testing.TB, nodes []*corev1.Node, pods []*corev1.Pod) *Extender {
	tb.Helper()
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	for _, n := range nodes {
		if err := store.Add(n); err != nil {
			tb.Fatal(err)
		}
	}
	e := &Extender{Nodes: store, Now: func() time.Time { return noon }, Log: logr.Discard()}
	for _, p := range pods {
		e.Tenants.OnAdd(p, true)
	}
	return e
}

func serve(t *testing.T, e *Extender) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for path, handler := range e.Handlers() {
		mux.Handle(path, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// ask sends what a scheduler sends and decodes the answer as it does.
func ask(t *testing.T, e *Extender, path string, pod *corev1.Pod, names []string, answer any) {
	t.Helper()
	body, err := json.Marshal(extenderv1.ExtenderArgs{Pod: pod, NodeNames: &names})
	if err != nil {
		t.Fatal(err)
	}
	server := serve(t, e)
	resp, err := server.Client().Post(server.URL+path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("answered %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
}

func bound(pod *corev1.Pod, node string) *corev1.Pod {
	pod.Spec.NodeName = node
	return pod
}

// failingStore is a cache that cannot be read.
type failingStore struct{}

func (failingStore) GetByKey(string) (any, bool, error) {
	return nil, false, errors.New("cache is down")
}

// strangeStore is a cache that holds other objects than expected.
type strangeStore struct{}

func (strangeStore) GetByKey(string) (any, bool, error) { return "not a node", true, nil }
