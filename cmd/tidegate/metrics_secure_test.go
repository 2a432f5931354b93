package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestOnlyReaders(t *testing.T) {
	for name, tc := range map[string]struct {
		header         string
		known, allowed bool
		broken         bool
		want           int
	}{
		"may read":                  {header: "Bearer t", known: true, allowed: true, want: http.StatusOK},
		"may not":                   {header: "Bearer t", known: true, want: http.StatusForbidden},
		"a token that nobody knows": {header: "Bearer t", allowed: true, want: http.StatusUnauthorized},
		"no token":                  {known: true, allowed: true, want: http.StatusUnauthorized},
		"another scheme":            {header: "Basic t", known: true, allowed: true, want: http.StatusUnauthorized},
		"no API server":             {header: "Bearer t", known: true, allowed: true, broken: true, want: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				switch o := action.(clienttesting.CreateAction).GetObject().(type) {
				case *authenticationv1.TokenReview:
					o.Status.Authenticated = tc.known && o.Spec.Token == "t"
					o.Status.User = authenticationv1.UserInfo{Username: "prometheus", Groups: []string{"monitoring"}}
					return true, o, nil
				case *authorizationv1.SubjectAccessReview:
					if tc.broken {
						return true, nil, errors.New("no API server")
					}
					asks := o.Spec.NonResourceAttributes
					o.Status.Allowed = tc.allowed && o.Spec.User == "prometheus" && o.Spec.Groups[0] == "monitoring" && asks.Path == "/metrics" && asks.Verb == "get"
					return true, o, nil
				}
				return false, nil, nil
			})
			served := false
			handler := onlyReaders(client, logr.Discard(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }))
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Header.Set("Authorization", tc.header)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != tc.want || served != (tc.want == http.StatusOK) {
				t.Errorf("status %d, served %t, want %d: %s", w.Code, served, tc.want, w.Body)
			}
		})
	}
}
