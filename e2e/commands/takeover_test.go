package commands

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// TestUpgrade: the manifests are applied again and another process takes over
// while a hundred pods wait. None of them is lost, let through before its time or
// forgotten, and the webhook still holds new ones.
func TestUpgrade(t *testing.T) {
	const waiting = 100
	u := newUser(t).withTidegate()
	u.reads("pause", "paused")
	for i := range waiting {
		u.submitsSized(fmt.Sprintf("waits-%03d", i), "50m", time.Second)
	}
	u.withoutTidegate()
	if err := u.Install(t.Context()); err != nil {
		t.Fatalf("apply the manifests again: %v", err)
	}
	u.withTidegate()
	u.submitsSized("new", "50m", time.Second)
	if held, done := u.count(); held != waiting+1 || done != 0 {
		t.Errorf("after the upgrade %d pods wait at the gate and %d have run, want %d and 0", held, done, waiting+1)
	}
	u.reads("resume", "resumed")
	u.eventually("all of them have run", func() error {
		if held, done := u.count(); done != waiting+1 {
			return fmt.Errorf("%d wait, %d have run", held, done)
		}
		return nil
	})
	u.atRest()
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
