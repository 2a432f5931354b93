package path

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// permissions judges the Roles by all that the whole suite did: each verb that
// they grant was needed, and nothing was asked for that they do not grant. It
// says nothing when a part of the suite ran, which proves no verb superfluous.
func permissions(code int) int {
	if code != 0 || suite.rig == nil || flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" {
		return code
	}
	for _, account := range []string{rig.ServerAccount, rig.WebhookAccount, rig.AgentAccount} {
		unused, refused, err := suite.rig.Permissions(context.Background(), account)
		if account == rig.AgentAccount {
			refused = nil // a test tries what it is not granted
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "judge the Roles:", err)
			code = 1
		}
		for _, grant := range unused {
			fmt.Fprintf(os.Stderr, "no test needed this of ServiceAccount %s: %s\n", account, grant)
			code = 1
		}
		for _, request := range refused {
			fmt.Fprintf(os.Stderr, "ServiceAccount %s was refused: %s\n", account, request)
			code = 1
		}
	}
	return code
}

// API servers before Kubernetes 1.34 do not stream what a watch begins with:
// the caches are then filled from lists, which is a permission of its own.
func TestCachesFromLists(t *testing.T) {
	w := newWorld(t, "strangers")
	p := own(t, rig.ProcessOptions{Env: []string{"KUBE_FEATURE_WatchListClient=false"}})
	ready(t, p)
	w.eventually("the capacity manager has its caches", func() error {
		if !strings.Contains(p.Log(), "capacity manager leads") {
			return errors.New("it does not lead yet")
		}
		return nil
	})
	for _, account := range []string{rig.ServerAccount, rig.WebhookAccount} {
		if _, refused, err := w.Permissions(t.Context(), account); err != nil || len(refused) > 0 {
			t.Errorf("ServiceAccount %s was refused %q, %v", account, refused, err)
		}
	}
}
