package commands

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/tidegate-k3s/tidegate/api"
)

// While the webhook is away pods that opted in are refused or let in, as was
// chosen, and others never notice.
func TestWebhookDown(t *testing.T) {
	u := newUser(t).withTidegate().withoutTidegate()
	create := func(annotation string) (string, error) {
		start := time.Now()
		out, err := u.Cluster.Kubectl(t.Context(), "run", "asks", "--image=work", "--annotations="+annotation, "--dry-run=server", "-o", "jsonpath={.spec.schedulingGates}")
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: it took %s", annotation, took)
		}
		return out, err
	}
	if out, err := create(api.GateKey + "=true"); err == nil || !strings.Contains(out, `failed calling webhook "gate.tidegate.io"`) {
		t.Errorf("a pod that opts in: %v, %s; want a refusal that names the webhook", err, out)
	}
	if out, err := create("example.com/other=true"); err != nil || out != "" {
		t.Errorf("a pod that does not: %v, %s", err, out)
	}

	u.kubectl("apply", "--filename", failOpen(t))
	t.Cleanup(func() {
		if err := u.Install(context.Background()); err != nil {
			t.Error(err)
		}
	})
	u.eventually("a pod that opts in comes in without the gate", func() error {
		out, err := create(api.GateKey + "=true")
		if err != nil || out != "" {
			return fmt.Errorf("gates %q: %v", out, err)
		}
		return nil
	})
}

// failOpen writes the webhook's configuration as the component leaves it, and
// returns the file.
func failOpen(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	manifests, err := filepath.Abs("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	if manifests, err = filepath.Rel(dir, manifests); err != nil {
		t.Fatal(err)
	}
	kustomization := fmt.Sprintf("resources: [%[1]s]\ncomponents: [%[1]s/components/fail-open]\n", manifests)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range built.Resources() {
		if r.GetKind() != "MutatingWebhookConfiguration" {
			continue
		}
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "configuration.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	t.Fatal("nothing was built for the webhook")
	return ""
}
