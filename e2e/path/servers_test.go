package path

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// Every API server has to prove the fence: one that does not answer might
// still bind.
func TestSilentAPIServer(t *testing.T) {
	const second = cluster.APIServer + "-2"
	w := newWorld(t, "servers")
	p := own(t, rig.ProcessOptions{})
	ready(t, p)
	w.submit(w.pod("work", "3", time.Second))
	w.phase("work", corev1.PodRunning)
	if err := w.Cluster.StopComponent(second); err != nil {
		t.Fatal(err)
	}
	started := false
	t.Cleanup(func() {
		if !started {
			_ = w.Cluster.StartComponent(context.Background(), second)
		}
	})
	address, err := url.Parse(w.Cluster.Servers[1])
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("the log names the silent API server", func() error {
		if !strings.Contains(p.Log(), "API server "+address.Host) {
			return errors.New("it does not")
		}
		return nil
	})
	w.node("fenced")
	if n := w.count(emulator.InstanceDeleting); n != 0 {
		t.Errorf("%d machines were deleted", n)
	}
	started = true
	if err := w.Cluster.StartComponent(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	w.atRest(1)
}

// The API server goes away while machines are on their way, and again while
// they retire; Tidegate lives and goes on.
func TestAPIServerRestarts(t *testing.T) {
	w := newWorld(t, "restart")
	p := own(t, rig.ProcessOptions{})
	ready(t, p)
	w.submit(w.pod("work", "3", 2*time.Second))
	w.waits("work", "MachinesComing", "1 machine in restart")
	w.restartAPIServer()
	w.phase("work", corev1.PodSucceeded)
	w.node("empty")
	w.restartAPIServer()
	w.atRest(1)
	select {
	case <-p.Exited():
		t.Errorf("tidegate run ended\n%s", logs())
	default:
	}
}

func (w *world) restartAPIServer() {
	w.t.Helper()
	if err := w.Cluster.Restart(w.t.Context(), cluster.APIServer); err != nil {
		w.t.Fatal(err)
	}
}
