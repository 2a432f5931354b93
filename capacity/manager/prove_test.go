package manager

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/tidegate-k3s/tidegate/api"
)

// answer is how a scripted API server answers the trial binding.
type answer func(http.ResponseWriter, *corev1.Binding)

func status(code int, reason metav1.StatusReason, message string) answer {
	return func(w http.ResponseWriter, _ *corev1.Binding) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
		})
	}
}

func refusal(uid, token string) answer {
	return status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid,
		"ValidatingAdmissionPolicy 'tidegate-fence' with binding 'tidegate-fence' denied request: "+api.FenceRefusal(uid, token))
}

var open404 = status(http.StatusNotFound, metav1.StatusReasonNotFound, `pods "fence-proof" not found`)

func TestProof(t *testing.T) {
	const node, uid, token = "agents000001", "uid-1", "token-1"
	for name, tc := range map[string]struct {
		servers []answer
		want    bool
		wantErr string
	}{
		"refused by the fence":                  {servers: []answer{refusal(uid, token)}, want: true},
		"refused by both servers":               {servers: []answer{refusal(uid, token), refusal(uid, token)}, want: true},
		"one server lags":                       {servers: []answer{refusal(uid, token), open404}},
		"not yet":                               {servers: []answer{open404}},
		"nobody listed":                         {wantErr: "no API server is listed"},
		"the fence of an earlier node":          {servers: []answer{refusal("uid-0", token)}, wantErr: "neither refused nor accepted"},
		"an earlier fence of the node":          {servers: []answer{refusal(uid, "token-0")}, wantErr: "neither refused nor accepted"},
		"another policy's refusal":              {servers: []answer{status(422, metav1.StatusReasonInvalid, "policy 'x' denied request: no")}, wantErr: "neither refused nor accepted"},
		"the sentence with another code":        {servers: []answer{status(500, metav1.StatusReasonInternalError, api.FenceRefusal(uid, token))}, wantErr: "neither refused nor accepted"},
		"forbidden":                             {servers: []answer{status(403, metav1.StatusReasonForbidden, "cannot create pods/binding")}, wantErr: "neither refused nor accepted"},
		"one proves, the other does not answer": {servers: []answer{refusal(uid, token), status(503, metav1.StatusReasonServiceUnavailable, "away")}, wantErr: "neither refused nor accepted"},
		"accepted": {
			servers: []answer{func(w http.ResponseWriter, _ *corev1.Binding) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusCreated)
				_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Success"}`))
			}},
			wantErr: "accepted the binding of a pod that does not exist",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			config := &rest.Config{Host: "https://127.0.0.1:1", Timeout: 5 * time.Second, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
			turn := 0 // which server answers how
			for i := range tc.servers {
				server := apiServer(t, node, func(w http.ResponseWriter, b *corev1.Binding) { tc.servers[(i+turn)%len(tc.servers)](w, b) })
				if _, err := client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), endpoint(t, i, server), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			for ; turn < max(1, len(tc.servers)); turn++ {
				got, err := newProver(config, client).prove(t.Context(), node, uid, token)
				if got != tc.want {
					t.Errorf("proved = %t, want %t", got, tc.want)
				}
				if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
					t.Errorf("error %v, want one that says %q", err, tc.wantErr)
				}
			}
		})
	}
}

// apiServer serves trial bindings, and fails the test on anything that would
// be a real one.
func apiServer(t *testing.T, node string, answer answer) *httptest.Server {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var binding corev1.Binding
		if err := json.NewDecoder(r.Body).Decode(&binding); err != nil {
			t.Errorf("the body is no binding: %v", err)
		}
		switch {
		case r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/"+api.Namespace+"/pods/") || !strings.HasSuffix(r.URL.Path, "/binding"):
			t.Errorf("request %s %s", r.Method, r.URL.Path)
		case r.URL.Query().Get("dryRun") != metav1.DryRunAll:
			t.Errorf("the binding is not a dry run: %s", r.URL)
		case binding.Target.Name != node:
			t.Errorf("the binding is to %q, want %q", binding.Target.Name, node)
		}
		answer(w, &binding)
	}))
	t.Cleanup(server.Close)
	return server
}

// endpoint lists the server as one of the cluster's API servers.
func endpoint(t *testing.T, i int, server *httptest.Server) *discoveryv1.EndpointSlice {
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	number := int32(port)
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "kubernetes-" + strconv.Itoa(i),
			Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: &number}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{u.Hostname()}}},
	}
}

// TestAnAPIServerThatHangs is a doubt, and one that does not last.
func TestAnAPIServerThatHangs(t *testing.T) {
	hang := make(chan struct{})
	server := apiServer(t, "n1", func(http.ResponseWriter, *corev1.Binding) { <-hang })
	t.Cleanup(func() { close(hang) })
	client := fake.NewClientset(endpoint(t, 0, server))
	config := &rest.Config{Host: "https://127.0.0.1:1", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	var bound time.Duration
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if deadline, ok := r.Context().Deadline(); ok {
				bound = time.Until(deadline)
			}
			ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
			defer cancel()
			return next.RoundTrip(r.WithContext(ctx))
		})
	})
	proved, err := newProver(config, client).prove(t.Context(), "n1", "uid-1", "token-1")
	if proved || err == nil {
		t.Errorf("proved = %t, error %v: want a doubt", proved, err)
	}
	if bound <= 0 || bound > proofTimeout {
		t.Errorf("the server may take %s, want at most %s", bound, proofTimeout)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestProofAsksTheServersThatAreListedNow: one that was replaced is asked no
// more, and one that has come is.
func TestProofAsksTheServersThatAreListedNow(t *testing.T) {
	client := fake.NewClientset(endpoint(t, 0, apiServer(t, "n1", refusal("uid-1", "token-1"))))
	config := &rest.Config{Host: "https://127.0.0.1:1", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	p := newProver(config, client)
	for _, want := range []bool{true, false} {
		if got, err := p.prove(t.Context(), "n1", "uid-1", "token-1"); got != want || err != nil {
			t.Errorf("proved = %t, %v, want %t", got, err, want)
		}
		slice := endpoint(t, 0, apiServer(t, "n1", open404))
		if _, err := client.DiscoveryV1().EndpointSlices("default").Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.servers) != 1 {
		t.Errorf("clients for %d servers are kept, want 1", len(p.servers))
	}
}
