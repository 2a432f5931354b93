package commands

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
	"github.com/tidegate-k3s/tidegate/cli/doctor"
)

// earlier is a commit whose Tidegate was another: its Roles lack a right, and it
// published what it knows in another form.
const earlier = "e595b5e3aae43d6fd428b2544210c6d55b6e7b2b"

// An earlier Tidegate is upgraded while a hundred pods wait, one runs on a machine
// that is to be retired, and the manifests change with the binary. No pod is lost,
// let through before its time or killed, the retirement goes on, and the webhook
// holds new pods.
func TestUpgrade(t *testing.T) {
	const waiting = 100
	u := newUser(t).withoutTidegate()
	t.Cleanup(func() { // for the other tests
		if err := u.Change(context.Background(), ""); err != nil {
			t.Error(err)
		}
	})
	if err := u.Change(t.Context(), checkout(t, earlier)); err != nil {
		t.Fatalf("install the earlier one: %v", err)
	}
	u.withTidegate()
	u.submits("works", 0)
	node := u.machine(cli.Busy).Name
	u.types("retire", node)
	u.machine(cli.Retiring)
	u.types("pause")
	for i := range waiting {
		u.submitsSized(fmt.Sprintf("waits-%03d", i), "50m", time.Second)
	}
	before := u.pod("works").UID
	u.withoutTidegate()

	if err := u.Change(t.Context(), ""); err != nil {
		t.Fatalf("apply the manifests of this one: %v", err)
	}
	u.withTidegate()
	u.submitsSized("new", "50m", time.Second)
	if held, done := u.count(); held != waiting+1 || done != 0 {
		t.Errorf("after the upgrade %d pods wait at the gate and %d have run, want %d and 0", held, done, waiting+1)
	}
	if machine := u.machine(cli.Retiring); machine.Name != node {
		t.Errorf("%s retires, want %s", machine.Name, node)
	}
	found := u.verdicts()
	for _, check := range []string{"leader", "azure", "pools", "fence", "agents", "webhook"} {
		if found[check] != doctor.OK {
			t.Errorf("tidegate doctor finds %s %s after the upgrade", check, found[check])
		}
	}
	u.reads("resume", "resumed")
	u.eventually("all of them have run", func() error {
		if held, done := u.count(); done != waiting+1 {
			return fmt.Errorf("%d wait, %d have run", held, done)
		}
		return nil
	})
	if p := u.pod("works"); p.UID != before || p.Spec.NodeName != node || p.Status.Phase != corev1.PodRunning {
		t.Errorf("the pod that ran is %s on %s, and another one: %v", p.Status.Phase, p.Spec.NodeName, p.UID != before)
	}
	u.ends("works")
	u.atRest()
}

// pod reads a pod.
func (u *user) pod(name string) *corev1.Pod {
	u.t.Helper()
	p, err := u.Client.CoreV1().Pods("default").Get(u.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		u.t.Fatal(err)
	}
	return p
}

// checkout puts the files of a commit into a folder. Without the history there is
// nothing to upgrade from.
func checkout(t *testing.T, commit string) string {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "git", "cat-file", "-e", commit).CombinedOutput(); err != nil {
		t.Skipf("this checkout does not have commit %s: %v: %s", commit, err, out)
	}
	dir := t.TempDir()
	// From the root of the checkout: git archives the folder that it is in.
	const unpack = `git -C "$(git rev-parse --show-toplevel)" archive "$0" | tar -x -C "$1"`
	if out, err := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", unpack, commit, dir).CombinedOutput(); err != nil {
		t.Fatalf("unpack commit %s: %v: %s", commit, err, out)
	}
	return dir
}

// count counts the pods at the gate and those that have run.
func (u *user) count() (held, done int) {
	u.t.Helper()
	pods, err := u.Client.CoreV1().Pods("default").List(u.t.Context(), metav1.ListOptions{})
	if err != nil {
		u.t.Fatal(err)
	}
	for i := range pods.Items {
		switch p := &pods.Items[i]; {
		case p.Annotations[api.GateKey] != "true":
		case api.HasCapacityGate(p):
			held++
		case p.Status.Phase == corev1.PodSucceeded:
			done++
		}
	}
	return held, done
}
