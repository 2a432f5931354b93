package path

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// A machine that is kept off while nobody needs it is bought once and started once,
// however often the capacity manager is killed, and goes once it is outdated.
func killedInALifeWithBreaks(t *testing.T) {
	w := newWorld(t, "breaks")
	ready(t, own(t, rig.ProcessOptions{Args: []string{"--capacity=false"}}))
	w.submit(w.pod("first", "3", 0))
	killed(t, "protect")
	w.delete("first")

	buyer := start(t, rig.ProcessOptions{Standby: true, Args: capacityOnly})
	node := w.off(1)
	buyer.Kill()
	freeLease(t)

	w.submit(w.pod("second", "3", time.Second))
	killed(t, "record-request", "start", "return")
	w.annotate(node.Name, api.KeepAnnotation, `"true"`)
	w.Azure.Cloud().ChangeModel(w.pool)
	killed(t, "record-model")
	w.annotate(node.Name, api.KeepAnnotation, "null")

	replica(t, rig.ProcessOptions{Standby: true, Args: capacityOnly})
	w.phase("second", corev1.PodSucceeded)
	w.atRest(1)
	if stopped, started := w.count(emulator.InstanceStopping), w.count(emulator.InstanceStarting); stopped != 1 || started != 1 {
		t.Errorf("the machine was stopped %d times and started %d times, want once each", stopped, started)
	}
}

// A machine that never joins is given up once.
func killedAtRepair(t *testing.T) {
	w := newWorld(t, "stillborn")
	ready(t, own(t, rig.ProcessOptions{Args: []string{"--capacity=false"}}))
	w.Azure.Cloud().AddFaults(emulator.Fault{Operation: emulator.BootOperation, Set: w.pool, Effect: emulator.Effect{NeverJoin: true}})
	t.Cleanup(w.Azure.Cloud().ClearFaults)
	buyer := start(t, rig.ProcessOptions{Standby: true, Args: capacityOnly})
	w.submit(w.pod("waits", "3", 0))
	w.eventually("it is published that the machine is to join", func() error {
		if status := w.status(); len(status.Joining) != 1 || w.count(emulator.InstanceProvisioned) != 1 {
			return fmt.Errorf("%d machines are provisioned, the status is %+v", w.count(emulator.InstanceProvisioned), status)
		}
		return nil
	})
	w.delete("waits")
	buyer.Kill()
	freeLease(t)
	// The next leader finds that an hour has passed, and knows that agents of the pool
	// join with the startup taint.
	w.publish(func(pool *api.PoolStatus) {
		pool.StartupTaint = true
		for vmid := range pool.Joining {
			pool.Joining[vmid] = metav1.NewTime(time.Now().Add(-time.Hour))
		}
	})
	killed(t, "repair")
	replica(t, rig.ProcessOptions{Standby: true, Args: capacityOnly})
	w.eventually("the machine is gone", func() error {
		if n := w.count(emulator.InstanceDeleted); n != 1 {
			return fmt.Errorf("%d machines are", n)
		}
		return nil
	})
	w.atRest(1)
}

// status is what is published of the test's pool.
func (w *world) status() api.PoolStatus {
	w.t.Helper()
	for _, pool := range w.published().Pools {
		if pool.Name == w.pool {
			return pool
		}
	}
	return api.PoolStatus{}
}

func (w *world) published() api.Status {
	w.t.Helper()
	configMap, err := w.Client.CoreV1().ConfigMaps(api.Namespace).Get(w.t.Context(), api.StatusConfigMap, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	status, err := api.ParseStatus(configMap)
	if err != nil {
		w.t.Fatal(err)
	}
	return status
}

// publish changes what an earlier leader has published of the test's pool.
func (w *world) publish(change func(*api.PoolStatus)) {
	w.t.Helper()
	status := w.published()
	for i := range status.Pools {
		if status.Pools[i].Name == w.pool {
			change(&status.Pools[i])
		}
	}
	text, err := json.Marshal(status)
	if err != nil {
		w.t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]string{api.StatusKey: string(text)}})
	if err == nil {
		_, err = w.Client.CoreV1().ConfigMaps(api.Namespace).Patch(w.t.Context(), api.StatusConfigMap, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// off waits until the pool's one machine has been deallocated so many times and is off.
func (w *world) off(times int) *corev1.Node {
	w.t.Helper()
	var found corev1.Node
	w.eventually("the machine is off", func() error {
		nodes := w.nodes()
		if len(nodes) != 1 {
			return fmt.Errorf("%d nodes", len(nodes))
		}
		found = nodes[0]
		if r := api.RestartOf(&found); w.count(emulator.InstanceStopping) != times || r == nil || r.Done == nil {
			return fmt.Errorf("it was stopped %d times, and is %s: %+v", w.count(emulator.InstanceStopping), state(&found), r)
		}
		return nil
	})
	return &found
}
