package commands

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The lines that docs/commands.md gives for a Tidegate that is gone let the
// waiting pods through. They are run as they stand there.
func TestDocumentedRescue(t *testing.T) {
	u := newUser(t).withTidegate()
	u.reads("pause", "paused")
	u.submits("stranded", 0)
	u.withoutTidegate()
	page, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```sh\n")
	script, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/commands.md has no lines to run")
	}
	// The webhooks are needed again by the other tests.
	script, _ = strings.CutPrefix(script, "kubectl delete mutatingwebhookconfigurations tidegate --ignore-not-found\n")
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+u.kubeconfig, "PATH="+filepath.Dir(u.Cluster.KubectlPath)+string(os.PathListSeparator)+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	u.eventually("the pod is in the ordinary queue", func() error {
		out, err := u.Cluster.Kubectl(t.Context(), "get", "pod", "stranded", "-o", "jsonpath={.spec.schedulingGates}")
		if err != nil || out != "" {
			return fmt.Errorf("its gates are %q: %v", out, err)
		}
		return nil
	})
	u.reads("resume", "resumed")
}
