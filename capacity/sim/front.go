package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/go-logr/logr"

	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
	"github.com/tidegate-k3s/tidegate/extender"
	"github.com/tidegate-k3s/tidegate/webhook"
)

// front is a replica that serves the webhook and the extender, through their
// HTTP handlers, with a view of the cluster of its own.
type front struct {
	handlers map[string]http.Handler
	// away is true while the scheduler cannot reach the extender.
	away bool
}

var _ cluster.Extender = (*front)(nil)

// newFront puts a replica in front of the cluster.
func newFront(c *cluster.Cluster) *front {
	view := c.NewCache()
	ext := &extender.Extender{Nodes: view.Informer(&corev1.Node{}), Now: time.Now, Log: logr.Discard()}
	_, _ = view.Informer(&corev1.Pod{}).AddEventHandler(&ext.Tenants) // it never fails
	f := &front{handlers: webhook.Handlers(view)}
	for path, handler := range ext.Handlers() {
		f.handlers[path] = handler
	}
	c.Admit = f.admit
	c.UseExtender(f)
	return f
}

// admit does what the API server does with a webhook's answer.
func (f *front) admit(pod *corev1.Pod) {
	before := encode(pod)
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "review", Operation: admissionv1.Create, Namespace: pod.Namespace,
			Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Object:   runtime.RawExtension{Raw: before},
		},
	}
	f.post(webhook.MutatePodsPath, review, &review)
	if len(review.Response.Patch) == 0 {
		return
	}
	patch, err := jsonpatch.DecodePatch(review.Response.Patch)
	if err != nil {
		panic(fmt.Sprintf("the webhook's patch: %v", err))
	}
	after, err := patch.Apply(before)
	if err != nil {
		panic(fmt.Sprintf("apply the webhook's patch: %v", err))
	}
	*pod = corev1.Pod{}
	decode(after, pod)
}

// Filter implements cluster.Extender.
func (f *front) Filter(pod *corev1.Pod, nodes []string) ([]string, bool) {
	if f.away {
		return nil, false
	}
	var result extenderv1.ExtenderFilterResult
	f.post(extender.FilterPath, extenderv1.ExtenderArgs{Pod: pod, NodeNames: &nodes}, &result)
	return *result.NodeNames, true
}

// Prioritize implements cluster.Extender.
func (f *front) Prioritize(pod *corev1.Pod, nodes []string) (map[string]int64, bool) {
	if f.away {
		return nil, false
	}
	var result extenderv1.HostPriorityList
	f.post(extender.PrioritizePath, extenderv1.ExtenderArgs{Pod: pod, NodeNames: &nodes}, &result)
	scores := map[string]int64{}
	for _, s := range result {
		scores[s.Host] = s.Score
	}
	return scores, true
}

func (f *front) post(path string, body, into any) {
	r := httptest.NewRequest(http.MethodPost, path, io.NopCloser(bytes.NewReader(encode(body))))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.handlers[path].ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		panic(fmt.Sprintf("POST %s: HTTP %d: %s", path, w.Code, w.Body))
	}
	decode(w.Body.Bytes(), into)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // API types always encode
	}
	return b
}

func decode(b []byte, into any) {
	if err := json.Unmarshal(b, into); err != nil {
		panic(fmt.Sprintf("decode %T: %v", into, err)) // it was encoded by the API's own types
	}
}
