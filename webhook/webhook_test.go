package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
)

func TestBadRequests(t *testing.T) {
	review := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"`
	for name, tc := range map[string]struct {
		method, contentType, body string
		wantCode                  int
		wantSentence              string
	}{
		"malformed JSON":     {body: review, wantCode: 400, wantSentence: "the body is not an AdmissionReview"},
		"empty body":         {wantCode: 400, wantSentence: "the body is not an AdmissionReview"},
		"wrong types":        {body: review + `,"request":5}`, wantCode: 400, wantSentence: "the body is not an AdmissionReview"},
		"another kind":       {body: `{"apiVersion":"v1","kind":"Pod"}`, wantCode: 400, wantSentence: `the body is a "Pod" of "v1"`},
		"an older version":   {body: `{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{}}`, wantCode: 400, wantSentence: "send an AdmissionReview of admission.k8s.io/v1"},
		"no request":         {body: review + `}`, wantCode: 400, wantSentence: "has no request"},
		"wrong method":       {method: http.MethodPut, body: review, wantCode: 405, wantSentence: "send a POST request"},
		"wrong content type": {contentType: "application/yaml", body: review, wantCode: 415, wantSentence: "send application/json"},
		"10 MB":              {body: `"` + strings.Repeat("x", 10<<20) + `"`, wantCode: 413, wantSentence: "the body is larger"},
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			handlers := Handlers(noStatus)
			for path, handler := range handlers {
				mux.Handle(path, handler)
			}
			server := httptest.NewServer(mux)
			defer server.Close()
			for path := range handlers {
				method, contentType := tc.method, tc.contentType
				if method == "" {
					method = http.MethodPost
				}
				if contentType == "" {
					contentType = "application/json"
				}
				req, err := http.NewRequest(method, server.URL+path, strings.NewReader(tc.body))
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
					t.Errorf("%s answered %d %q, want %d and %q", path, resp.StatusCode, text, tc.wantCode, tc.wantSentence)
				}
			}
		})
	}
}

// FuzzMutate sends any object for admission, as a pod and as a Job: it is
// admitted.
func FuzzMutate(f *testing.F) {
	f.Add([]byte(`{"metadata":{"annotations":{"tidegate.io/gate":"true"}},"spec":{"containers":[{"name":"c"}]}}`))
	f.Add([]byte(`{"metadata":{"annotations":{"tidegate.io/gate":"true"}},"spec":{"schedulingGates":[{"name":"kueue.x-k8s.io/admission"}],"newField":1}}`))
	f.Add([]byte(`{"metadata":{"annotations":{"tidegate.io/gate":"yes","tidegate.io/gang-size":"-1"}},"spec":{}}`))
	f.Add([]byte(`{"spec":{"template":{"metadata":{"annotations":{"tidegate.io/gate":"true"}},"spec":{"containers":[{"resources":{"requests":{"cpu":"1e999999999"}}}]}}}}`))
	f.Add([]byte(`{"spec":{"containers":[{"resources":{"requests":{"cpu":"-1"}}}]}}`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, object []byte) {
		if !json.Valid(object) {
			return // the API server encoded the object itself
		}
		for path, handler := range Handlers(publishes(agents, big)) {
			resource := "pods"
			if strings.HasPrefix(path, ValidateJobsPath) {
				resource = "jobs"
			}
			got := send(t, handler, admissionv1.AdmissionRequest{
				Operation: admissionv1.Create, Namespace: "default",
				Resource: metav1.GroupVersionResource{Resource: resource},
				Object:   runtime.RawExtension{Raw: object},
			})
			if !got.Allowed || got.UID != "uid" {
				t.Errorf("%s answered %+v, want the object admitted", path, got)
			}
		}
	})
}

// send asks a handler as the API server does. It decodes the answer itself.
func send(t *testing.T, handler http.Handler, request admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	t.Helper()
	request.UID = "uid"
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request:  &request,
	})
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || w.Code != http.StatusOK || review.Response == nil {
		t.Fatalf("answered %d %q (%v), want a review with a response", w.Code, w.Body, err)
	}
	return review.Response
}

// submit sends an object for admission and returns the object that would be
// stored and the warnings that the submitter reads.
func submit[T any](t *testing.T, handler http.Handler, resource, namespace string, object T) (stored T, warnings []string) {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	response := send(t, handler, admissionv1.AdmissionRequest{
		Operation: admissionv1.Create, Namespace: namespace,
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: resource},
		Object:   runtime.RawExtension{Raw: raw},
	})
	if !response.Allowed {
		t.Fatalf("refused: %v", response.Result)
	}
	if len(response.Patch) > 0 {
		patch, err := jsonpatch.DecodePatch(response.Patch)
		if err != nil {
			t.Fatalf("patch %s: %v", response.Patch, err)
		}
		if raw, err = patch.Apply(raw); err != nil {
			t.Fatalf("apply patch %s: %v", response.Patch, err)
		}
	}
	if err := json.Unmarshal(raw, &stored); err != nil {
		t.Fatal(err)
	}
	return stored, response.Warnings
}

// configMapReader is a reader that finds the one ConfigMap of the status.
type configMapReader struct {
	client.Reader
	data map[string]string
	err  error
}

func (r configMapReader) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	if r.err != nil {
		return r.err
	}
	if want := (client.ObjectKey{Namespace: api.Namespace, Name: api.StatusConfigMap}); key != want {
		return errors.New("no such object: " + key.String())
	}
	obj.(*corev1.ConfigMap).Data = r.data
	return nil
}

// hangingReader is a cache that never fills.
type hangingReader struct{ client.Reader }

func (hangingReader) Get(ctx context.Context, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	<-ctx.Done()
	return ctx.Err()
}

var (
	noStatus = configMapReader{err: errors.New("not found")}
	agents   = api.PoolStatus{Name: "agents", Offers: offers("7.8", "30Gi", "")}
	big      = api.PoolStatus{Name: "big", Offers: offers("15.6", "15Gi", "1")}
	unseen   = api.PoolStatus{Name: "unseen"}
)

func publishes(pools ...api.PoolStatus) client.Reader {
	text, err := json.Marshal(api.Status{Pools: pools})
	if err != nil {
		panic(err)
	}
	return configMapReader{data: map[string]string{api.StatusKey: string(text)}}
}

func offers(cpu, memory, gpus string) corev1.ResourceList {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	if gpus != "" {
		list["nvidia.com/gpu"] = resource.MustParse(gpus)
	}
	return list
}

func diff[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}
