package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// slowBindings is an admission webhook that lets every binding through, but late.
// Admission policies have judged the binding by then, so that what changes in
// between, such as a fence, does not keep it from being written.
type slowBindings struct {
	client kubernetes.Interface

	mu  sync.Mutex
	all slowFigures
}

// slowFigures are what was delayed.
type slowFigures struct {
	// BindingsDelayed is how many bindings were, and LongestDelayMS by how much at
	// most.
	BindingsDelayed int   `json:"bindings_delayed"`
	LongestDelayMS  int64 `json:"longest_delay_ms"`
	// AfterTheMark and AfterTheFence count those of them whose node was marked or
	// fenced by the time at which they were written.
	AfterTheMark  int `json:"written_after_the_mark"`
	AfterTheFence int `json:"written_after_the_fence"`
}

func (s *slowBindings) figures() slowFigures {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// delayBindings serves the webhook until ctx ends.
func delayBindings(ctx context.Context, r *rig.Rig) (*slowBindings, error) {
	s := &slowBindings{client: r.Client}
	dir, err := r.Cluster.ServingCert("slow-bindings", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(r.Cluster.CAFile)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	go server.ServeTLS(listener, filepath.Join(dir, corev1.TLSCertKey), filepath.Join(dir, corev1.TLSPrivateKeyKey))
	_, err = r.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "slow-bindings"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:                    "slow-bindings.example.com",
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds:          ptr.To(int32(2 * settle / time.Second)),
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://" + listener.Addr().String()), CABundle: ca},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/binding"}},
			}},
		}},
	}, metav1.CreateOptions{})
	return s, err
}

func (s *slowBindings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	var binding corev1.Binding
	err := json.NewDecoder(r.Body).Decode(&review)
	if err == nil {
		err = json.Unmarshal(review.Request.Object.Raw, &binding)
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("read the review of a binding: %v", err), http.StatusBadRequest)
		return
	}
	if !ptr.Deref(review.Request.DryRun, false) {
		delay := rand.N(settle)
		time.Sleep(delay)
		s.count(r.Context(), delay, binding.Target.Name)
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(review) //nolint:errcheck // the API server then refuses the binding, and the pod is scheduled again
}

// count looks what has become of the node while its binding was held back.
func (s *slowBindings) count(ctx context.Context, delay time.Duration, node string) {
	n, err := s.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.BindingsDelayed++
	s.all.LongestDelayMS = max(s.all.LongestDelayMS, delay.Milliseconds())
	if err != nil {
		return
	}
	if _, marked := n.Annotations[api.RetiringAnnotation]; marked {
		s.all.AfterTheMark++
	}
	if _, fenced := n.Labels[api.RetiredLabel]; fenced {
		s.all.AfterTheFence++
	}
}
