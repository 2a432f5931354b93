package commands

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/manifests"
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
	before := u.counted()
	if out, err := create(api.GateKey + "=true"); err == nil || !strings.Contains(out, `failed calling webhook "gate.tidegate.io"`) {
		t.Errorf("a pod that opts in: %v, %s; want a refusal that names the webhook", err, out)
	}
	if u.counted()["apiserver_admission_webhook_rejection_count"] <= before["apiserver_admission_webhook_rejection_count"] {
		t.Error("the alert does not notice that the webhook is away")
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
	if u.counted()["apiserver_admission_webhook_fail_open_count"] <= before["apiserver_admission_webhook_fail_open_count"] {
		t.Error("the alert does not notice that pods come in without the gate")
	}
}

// counted sums up, by name, the API server's counters that the alerts go by.
func (u *user) counted() map[string]float64 {
	u.t.Helper()
	rules, err := manifests.FS.ReadFile("components/prometheus/prometheusrule.yaml")
	if err != nil {
		u.t.Fatal(err)
	}
	text, err := u.Client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(u.t.Context())
	if err != nil {
		u.t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		u.t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, selector := range regexp.MustCompile(`(apiserver_\w+)\{([^}]*)\}`).FindAllSubmatch(rules, -1) {
		name, filters := string(selector[1]), regexp.MustCompile(`(\w+)=~?"([^"]*)"`).FindAllSubmatch(selector[2], -1)
		for _, m := range families[name].GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			selected := true
			for _, filter := range filters {
				// An escaped backslash, as text in quotes has it; Prometheus' patterns are of whole values.
				pattern := regexp.MustCompile("^(?:" + strings.ReplaceAll(string(filter[2]), `\\`, `\`) + ")$")
				selected = selected && pattern.MatchString(labels[string(filter[1])])
			}
			if selected {
				sums[name] += m.GetCounter().GetValue()
			}
		}
	}
	return sums
}

// failOpen writes the webhook's configuration as the component leaves it, and
// returns the file.
func failOpen(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	base, err := filepath.Abs("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(dir, base); err != nil {
		t.Fatal(err)
	}
	kustomization := fmt.Sprintf("resources: [%[1]s]\ncomponents: [%[1]s/components/fail-open]\n", base)
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
