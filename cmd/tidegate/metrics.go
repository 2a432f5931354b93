package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/tidegate-k3s/tidegate/internal/owncerts"
)

// metricsPath is the library's own path of the metrics.
const metricsPath = "/metrics"

// reviewTimeout is how long the API server may take to say who asks for metrics.
const reviewTimeout = 5 * time.Second

// metricsOptions say how the metrics are served: plainly, or with the extender's
// certificate and to those who may read them.
func metricsOptions(o runOptions, extender *owncerts.Keeper) metricsserver.Options {
	options := metricsserver.Options{BindAddress: o.metricsAddress}
	if !o.metricsSecure {
		return options
	}
	options.SecureServing, options.CertDir = true, o.serving.extenderCertDir
	options.TLSOpts = []func(*tls.Config){func(c *tls.Config) {
		c.MinVersion = tls.VersionTLS13
		if o.serving.ownCertificates {
			c.GetCertificate = extender.GetCertificate
		}
	}}
	options.FilterProvider = func(config *rest.Config, _ *http.Client) (metricsserver.Filter, error) {
		// Whoever asks without end must not have the API server asked without end.
		limited := rest.CopyConfig(config)
		limited.QPS, limited.Burst = 5, 10
		client, err := kubernetes.NewForConfig(limited)
		if err != nil {
			return nil, fmt.Errorf("client for the cluster: %w", err)
		}
		return func(log logr.Logger, metrics http.Handler) (http.Handler, error) {
			return onlyReaders(client, log, metrics), nil
		}, nil
	}
	return options
}

// onlyReaders serves the metrics to those whose token the API server knows and
// who may get them there, as it would judge for its own metrics.
func onlyReaders(client kubernetes.Interface, log logr.Logger, metrics http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			http.Error(w, "send the token of a ServiceAccount that may get "+metricsPath, http.StatusUnauthorized)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
		defer cancel()
		who, err := client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token},
		}, metav1.CreateOptions{})
		if err == nil && !who.Status.Authenticated {
			http.Error(w, "the API server does not know this token", http.StatusUnauthorized)
			return
		}
		var may *authorizationv1.SubjectAccessReview
		if err == nil {
			user := who.Status.User
			extra := map[string]authorizationv1.ExtraValue{}
			for key, value := range user.Extra {
				extra[key] = authorizationv1.ExtraValue(value)
			}
			may, err = client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{
					User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
					NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: metricsPath, Verb: "get"},
				},
			}, metav1.CreateOptions{})
		}
		switch {
		case err != nil:
			log.Error(err, "the API server does not say who asks for metrics")
			http.Error(w, "the API server does not say who asks: try again", http.StatusServiceUnavailable)
		case !may.Status.Allowed:
			http.Error(w, fmt.Sprintf("%s may not get %s: bind a ClusterRole with that nonResourceURL", who.Status.User.Username, metricsPath), http.StatusForbidden)
		default:
			metrics.ServeHTTP(w, r)
		}
	})
}
