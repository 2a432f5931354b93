package commands

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
)

// TestUninstall is the last: afterwards there is nothing of Tidegate in the
// cluster, waiting pods go to the scheduler, and what runs is untouched.
func TestUninstall(t *testing.T) {
	u := newUser(t).withTidegate()
	u.submits("runs", 0)
	node := u.machine(cli.Busy).Name
	u.reads("retire "+node, "is retired")
	u.machine(cli.Retiring)
	u.reads("pause", "paused")
	u.submits("waits", 0)
	u.withoutTidegate()

	u.reads("uninstall", "remove the gate from 1 waiting pods", "DaemonSet tidegate-server/", "say --yes")
	u.reads("status", "default/waits") // nothing was done yet
	u.fits(u.types("uninstall"))
	u.reads("uninstall --yes", "removed the gate from 1 pods", "cleaned 1 nodes", "ValidatingAdmissionPolicy tidegate-fence")

	u.eventually("its namespaces are gone", func() error {
		for _, name := range []string{api.Namespace, api.ServerNamespace} {
			if _, err := u.Client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{}); err == nil {
				return fmt.Errorf("%s is still there", name)
			}
		}
		return nil
	})
	left := traces(t, u)
	if diff := cmp.Diff([]string(nil), left); diff != "" {
		t.Errorf("objects that speak of Tidegate (-want +got):\n%s", diff)
	}
	u.eventually("the pod that waited runs beside the other", func() error {
		p, err := u.Client.CoreV1().Pods("default").Get(t.Context(), "waits", metav1.GetOptions{})
		if err != nil || p.Spec.NodeName != node {
			return fmt.Errorf("it is on %q: %v", p.Spec.NodeName, err)
		}
		return nil
	})
	u.submits("later", time.Second) // nobody gates it, nobody refuses it
	u.reads("uninstall --yes", "removed the gate from 0 pods", "cleaned 0 nodes")
}

// traces lists the objects of the cluster that have anything of Tidegate in
// them, but for what the user said himself and for history.
func traces(t *testing.T, u *user) []string {
	t.Helper()
	kinds := "nodes,pods,namespaces,configmaps,serviceaccounts,services,daemonsets,deployments,leases,secrets,roles,rolebindings," +
		"clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations," +
		"validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingadmissionpolicies,mutatingadmissionpolicybindings,poddisruptionbudgets,networkpolicies"
	out, err := u.Cluster.Kubectl(t.Context(), "get", kinds, "-A", "-o", "json")
	if err != nil {
		t.Fatal(err, out)
	}
	var list struct {
		Items []map[string]any `json:"items"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, item := range list.Items {
		metadata := item["metadata"].(map[string]any)
		if annotations, ok := metadata["annotations"].(map[string]any); ok && item["kind"] == "Pod" {
			for key := range annotations {
				if strings.HasPrefix(key, "tidegate.io/") || strings.HasPrefix(key, "e2e.tidegate.io/") {
					delete(annotations, key) // the submitter's
				}
			}
		}
		text, err := json.Marshal(item)
		if err != nil {
			t.Fatal(err)
		}
		// The machines' names are Azure's.
		if strings.Contains(strings.NewReplacer("e2e.tidegate.io", "", pool, "").Replace(string(text)), "tidegate") {
			left = append(left, fmt.Sprintf("%s %v: %s", item["kind"], metadata["name"], text))
		}
	}
	return left
}
