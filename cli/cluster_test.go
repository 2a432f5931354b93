package cli

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// A read that fails says what to do about it.
func TestReadErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"a right is missing": {apierrors.NewForbidden(corev1.Resource("nodes"), "", errors.New("no role")), "use a kubeconfig that may"},
		"an old kubeconfig":  {apierrors.NewUnauthorized("expired"), "fetch a new one"},
		"nobody answers":     {&url.Error{Op: "Get", URL: "https://127.0.0.1:1", Err: errors.New("connection refused")}, "look whether the server that the kubeconfig names is up"},
		"anything else":      {apierrors.NewInternalError(errors.New("etcd")), "try again"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tc.err })
			_, err := ReadCluster(t.Context(), client, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, tc.err) {
				t.Errorf("error %v, want one that says %q", err, tc.want)
			}
		})
	}
}
