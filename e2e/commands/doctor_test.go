package commands

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli/doctor"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// verdicts are what tidegate doctor finds, by check. It fails if a check does.
func (u *user) verdicts() map[string]doctor.Verdict {
	u.t.Helper()
	findings, err := u.Doctor(u.t.Context(), u.kubeconfig)
	if len(findings) == 0 {
		u.t.Fatal(err)
	}
	found, failed := map[string]doctor.Verdict{}, 0
	for check, f := range findings {
		found[check] = f.Verdict
		if f.Verdict == doctor.Failed {
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
	healthy := map[string]doctor.Verdict{
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

	// The server says with which arguments it runs.
	runsWith := func(args string) {
		t.Helper()
		u.kubectl("annotate", "--overwrite", "node", rig.ServerNode, "k3s.io/node-args="+args)
	}
	t.Cleanup(func() {
		_, _ = u.Cluster.Kubectl(context.Background(), "annotate", "node", rig.ServerNode, "k3s.io/node-args-")
	})
	for args, want := range map[string]doctor.Verdict{
		`["server"]`: doctor.Failed,
		`["server","--kube-scheduler-arg","config=/etc/other.yaml"]`:                          doctor.Warning,
		`["server","--kube-scheduler-arg","config=/etc/rancher/k3s/tidegate/scheduler.yaml"]`: doctor.OK,
	} {
		runsWith(args)
		if got := u.verdicts()["scheduler"]; got != want {
			t.Errorf("the scheduler of a server that runs with %s is %s, want %s", args, got, want)
		}
	}
	runsWith(`["server","--kube-scheduler-arg","config=/etc/rancher/k3s/tidegate/scheduler.yaml"]`)
	t.Run("on the server", u.examinesItsServer)

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

// On a server the doctor looks for its files and its rule, which this machine has
// none of.
func (u *user) examinesItsServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to be called like the server takes root")
	}
	found, err := u.DoctorOnServer(t.Context(), u.kubeconfig)
	if len(found) == 0 {
		t.Fatal(err)
	}
	for check, want := range map[string]string{"scheduler": "this server's files: ", "imds": "pods on this server can use its identity"} {
		if f := found[check]; f.Verdict == doctor.OK || !strings.Contains(f.Detail, want) {
			t.Errorf("on a server without files and rule %s is %+v, want %q", check, f, want)
		}
	}
}
