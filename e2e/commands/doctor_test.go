package commands

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// verdicts are what tidegate doctor finds, by check. It fails if a check does.
func (u *user) verdicts() map[string]string {
	u.t.Helper()
	out, err := u.Run(u.t.Context(), u.kubeconfig, "doctor", "-o", "json")
	var findings []struct{ Check, Verdict string }
	if jsonErr := json.Unmarshal([]byte(out), &findings); jsonErr != nil {
		u.t.Fatalf("%v: %v", err, jsonErr)
	}
	found, failed := map[string]string{}, 0
	for _, f := range findings {
		found[f.Check] = f.Verdict
		if f.Verdict == "failed" {
			failed++
		}
	}
	if said := fmt.Sprintf("%d of %d checks failed", failed, len(findings)); (failed > 0) != (err != nil) || err != nil && !strings.Contains(err.Error(), said) {
		u.t.Errorf("it ends with %v, want %q", err, said)
	}
	return found
}

// On a cluster that works doctor finds only what the tests lack: cert-manager,
// Tidegate's own pods, and k3s.
func TestDoctor(t *testing.T) {
	u := newUser(t).withTidegate()
	healthy := map[string]string{
		"kubernetes": "ok", "clocks": "ok", "workloads": "warning", "leader": "ok", "azure": "ok", "pools": "ok",
		"acting": "ok", "fence": "ok", "agents": "ok", "webhook": "ok", "certificates": "failed", "authority": "ok",
		"scheduler": "unknown", "imds": "unknown", "autoscalers": "ok",
	}
	u.eventually("the leader has published its pools", func() error {
		if diff := cmp.Diff(healthy, u.verdicts()); diff != "" {
			return fmt.Errorf("verdicts (-want +got):\n%s", diff)
		}
		return nil
	})

	bindings := u.Client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	binding, err := bindings.Get(t.Context(), api.FencePolicy, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := bindings.Delete(t.Context(), binding.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := u.verdicts()["fence"]; got != "failed" {
		t.Errorf("the fence without its binding is %s", got)
	}
	binding.ResourceVersion = ""
	if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	u.withoutTidegate()
	if got := u.verdicts()["webhook"]; got != "failed" {
		t.Errorf("the webhook without Tidegate is %s", got)
	}
}
