package commands

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// The first pod of docs/install.md has a machine bought, and ends on it.
func TestDocumentedTry(t *testing.T) {
	u := newUser(t).withTidegate()
	first, _, _ := strings.Cut(documented(t, "kubectl run first"), "\n")
	if !strings.Contains(first, api.PoolAnnotation+"="+pool+" ") {
		t.Fatalf("it does not name the template's pool: %s", first)
	}
	u.shell(first)
	t.Cleanup(func() {
		_ = u.Client.CoreV1().Pods("default").Delete(context.Background(), "first", metav1.DeleteOptions{})
	})
	u.reads("explain pod first", "waits at the gate")
	u.eventually("the pod is on a machine of the pool", func() error {
		p, err := u.Client.CoreV1().Pods("default").Get(t.Context(), "first", metav1.GetOptions{})
		if err != nil || !strings.HasPrefix(p.Spec.NodeName, pool) {
			return fmt.Errorf("it is on %q: %v", p.Spec.NodeName, err)
		}
		return nil
	})
	u.ends("first")
	u.atRest()
}
