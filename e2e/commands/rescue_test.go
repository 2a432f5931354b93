package commands

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// admissionPolicy gates in the place of the webhook.
const admissionPolicy = "../../manifests/overlays/admission-policy/policy.yaml"

// The lines that docs/install.md gives for a Tidegate that was removed by force
// are run as they stand there: pods that wait are let through, and no other waits
// or is refused, whatever gated them. Machines that join take pods again.
func TestDocumentedRescue(t *testing.T) {
	script := documented(t, "mutatingwebhookconfigurations")
	for name, gatedBy := range map[string]func(u *user){
		"the webhook": func(*user) {},
		"the admission policy": func(u *user) {
			u.kubectl("apply", "-f", admissionPolicy)
			u.kubectl("delete", "mutatingwebhookconfigurations", api.WebhookConfiguration)
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t).withTidegate()
			u.reads("pause", "paused")
			gatedBy(u)
			t.Cleanup(func() { // the other tests' way of installing
				if _, err := u.Cluster.Kubectl(context.Background(), "delete", "--ignore-not-found", "-f", admissionPolicy); err != nil {
					t.Error(err)
				}
				if err := u.Install(context.Background()); err != nil {
					t.Error(err)
				}
			})
			u.submitsGated("stranded")
			u.withoutTidegate()
			u.joinsTainted("late", api.StartupTaint)
			u.joinsTainted("fenced", api.RetiredTaint)

			u.shell(script)
			u.eventually("the pod is in the ordinary queue", func() error { return u.gatesOf("stranded", "") })
			u.eventually("new pods are neither gated nor refused", func() error {
				out, err := u.Cluster.Kubectl(t.Context(), "run", "afterwards", "--image=work", "--annotations="+api.GateKey+"=true", "--dry-run=server", "-o", "jsonpath={.spec.schedulingGates}")
				if err != nil || out != "" {
					return fmt.Errorf("gates %q: %v", out, err)
				}
				return nil
			})
			for _, node := range []string{"late", "fenced"} {
				n, err := u.Client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for _, taint := range n.Spec.Taints {
					if api.IsOurs(taint.Key) {
						t.Errorf("node %s keeps the taint %s", node, taint.Key)
					}
				}
			}
			if _, err := u.Client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Get(t.Context(), api.FencePolicy, metav1.GetOptions{}); err == nil {
				t.Error("the fence still refuses pods on nodes")
			}
		})
	}
	u := newUser(t).withTidegate()
	u.reads("resume", "resumed")
}

// documented returns the block of commands in docs/install.md that has the text
// in it.
func documented(t *testing.T, has string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(page), "\n```sh\n")[1:] {
		if block, _, _ := strings.Cut(block, "\n```\n"); strings.Contains(block, has) {
			return block
		}
	}
	t.Fatalf("docs/install.md has no commands with %q", has)
	return ""
}

// shell runs lines as somebody pastes them: each one, whatever the one before it
// came to; the last one's outcome counts.
func (u *user) shell(lines string) {
	u.t.Helper()
	cmd := exec.CommandContext(u.t.Context(), "bash", "-uo", "pipefail", "-c", lines)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+u.kubeconfig, "PATH="+filepath.Dir(u.Cluster.KubectlPath)+string(os.PathListSeparator)+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		u.t.Fatalf("%v\n%s", err, out)
	}
}

// kubectl runs the administrator's kubectl.
func (u *user) kubectl(args ...string) {
	u.t.Helper()
	if _, err := u.Cluster.Kubectl(u.t.Context(), args...); err != nil {
		u.t.Fatal(err)
	}
}

// submitsGated creates opted-in pods of that name until one is gated: what gates
// takes a moment to be known to the API server.
func (u *user) submitsGated(name string) {
	u.t.Helper()
	u.eventually("the pod is gated", func() error {
		u.submits(name, 0)
		if err := u.gatesOf(name, api.CapacityGate); err != nil {
			now := int64(0)
			_ = u.Client.CoreV1().Pods("default").Delete(u.t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &now})
			return err
		}
		return nil
	})
}

// gatesOf compares the names of a pod's gates.
func (u *user) gatesOf(pod, want string) error {
	got, err := u.Cluster.Kubectl(u.t.Context(), "get", "pod", pod, "-o", "jsonpath={.spec.schedulingGates[*].name}")
	if err == nil && got != want {
		err = fmt.Errorf("its gates are %q, want %q", got, want)
	}
	return err
}

// joinsTainted adds a node that has one of Tidegate's taints, and on which nothing
// runs.
func (u *user) joinsTainted(name, taint string) {
	u.t.Helper()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: taint, Effect: corev1.TaintEffectNoSchedule}}},
	}
	if _, err := u.Client.CoreV1().Nodes().Create(u.t.Context(), node, metav1.CreateOptions{}); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = u.Client.CoreV1().Nodes().Delete(context.Background(), name, metav1.DeleteOptions{}) })
}
