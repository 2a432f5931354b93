// Package webhook puts opted-in pods behind Tidegate's gate and tells their
// submitters at once what is wrong with a request. It refuses nothing for its
// content.
package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/tidegate-k3s/tidegate/internal/httpguard"
)

// Where the handlers are served; the webhook configurations name these paths.
// A request comes by the path "by-namespace" if its namespace is opted in by
// label. The API server judges that label by its own namespace object, so that
// no cache of ours can be behind it.
const (
	MutatePodsPath              = "/mutate-pods"
	MutatePodsByNamespacePath   = "/mutate-pods/by-namespace"
	ValidateJobsPath            = "/validate-jobs"
	ValidateJobsByNamespacePath = "/validate-jobs/by-namespace"
)

// Handlers returns the webhook's HTTP handlers by path. The reader finds the
// published status (api.StatusConfigMap in api.Namespace); without it nothing
// is said of what machines offer.
func Handlers(reader client.Reader) map[string]http.Handler {
	status := statusReader{reader}
	return map[string]http.Handler{
		MutatePodsPath:              guard(podHandler{status: status}),
		MutatePodsByNamespacePath:   guard(podHandler{status: status, namespaceOptIn: true}),
		ValidateJobsPath:            guard(jobHandler{status: status}),
		ValidateJobsByNamespacePath: guard(jobHandler{status: status, namespaceOptIn: true}),
	}
}

// guard serves a handler through controller-runtime's Webhook, which recovers
// panics and completes answers. Its ServeHTTP would answer whatever it is sent
// with 200; here, what is not a review gets a 4xx.
func guard(handler admission.Handler) http.Handler {
	hook := &admission.Webhook{Handler: handler}
	return httpguard.JSON(func(w http.ResponseWriter, r *http.Request, body []byte) error {
		review, err := decode(body)
		if err != nil {
			return err
		}
		response := hook.Handle(r.Context(), admission.Request{AdmissionRequest: *review.Request})
		w.Header().Set("Content-Type", "application/json")
		// The types always encode, and an API server that hung up needs no answer.
		_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: &response.AdmissionResponse})
		return nil
	})
}

func decode(body []byte) (admissionv1.AdmissionReview, error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return review, fmt.Errorf("the body is not an AdmissionReview: %w", err)
	}
	if want := admissionv1.SchemeGroupVersion.String(); review.Kind != "AdmissionReview" || review.APIVersion != want {
		return review, fmt.Errorf("the body is a %q of %q: send an AdmissionReview of %s", review.Kind, review.APIVersion, want)
	}
	if review.Request == nil {
		return review, errors.New("the AdmissionReview has no request: send what the API server sends")
	}
	return review, nil
}
