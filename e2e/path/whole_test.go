package path

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// A Job and a late pod share one machine: gate, buy, release, run, mark,
// rescue, fence, delete, and nothing that runs is touched.
func TestWholePath(t *testing.T) {
	w := newWorld(t, "whole")
	t.Parallel()
	p := tidegate(t)
	nodes := w.follow()

	w.job("frames", 1, w.pod("", "3", 8*time.Second))
	var first corev1.Pod
	w.eventually("the Job's pod runs", func() error {
		pods, err := w.Client.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=frames"})
		if err != nil || len(pods.Items) != 1 || pods.Items[0].Status.Phase != corev1.PodRunning {
			return fmt.Errorf("%d pods: %v", len(pods.Items), err)
		}
		first = pods.Items[0]
		return nil
	})
	w.event(w.namespace, first.Name, "MachinesComing", "waiting for 1 machine in whole")
	w.event(w.namespace, first.Name, "Released", "released towards node "+first.Spec.NodeName)
	if c := condition(&first); c.Status != corev1.ConditionTrue || c.Message != "released towards node "+first.Spec.NodeName {
		t.Errorf("the condition of the pod on %s is %+v", first.Spec.NodeName, c)
	}

	node := w.node("marked") // although the pod runs
	late := w.submit(w.pod("late", "4", time.Second))
	if len(late.Spec.SchedulingGates) != 1 || late.Spec.SchedulingGates[0].Name != api.CapacityGate {
		t.Errorf("gates of the pod: %v", late.Spec.SchedulingGates)
	}
	if late = w.phase("late", corev1.PodSucceeded); late.Spec.NodeName != node.Name {
		t.Errorf("the late pod ran on %q, want the rescued node %s", late.Spec.NodeName, node.Name)
	}
	w.event("default", node.Name, "Rescued", "a waiting pod needs it")

	if ended := w.phase(first.Name, corev1.PodSucceeded); ended.UID != first.UID {
		t.Errorf("the Job's pod was replaced")
	}
	w.atRest(1)
	want := []string{"joined", "adopted", "marked", "adopted", "marked", "empty", "fenced", "deleting", "gone"}
	w.eventually("the watch has seen the end", func() error {
		if diff := cmp.Diff(want, nodes.of(node.Name)); diff != "" {
			return fmt.Errorf("states of the node (-want +got):\n%s", diff)
		}
		return nil
	})
	for _, reason := range []string{"Adopted", "Retiring", "Fenced", "Deleting"} {
		w.event("default", node.Name, reason, "")
	}
	var capacities []int
	for _, e := range w.history() {
		if e.Kind == emulator.CapacityChanged {
			capacities = append(capacities, e.New)
		}
	}
	if !slices.Equal(capacities, []int{1, 0}) {
		t.Errorf("capacities of the pool: %v, want 1 and then 0", capacities)
	}
	// The Roles of the manifests are enough, and no event was too long.
	if log := p.Log(); strings.Contains(log, `is forbidden: User "`) || strings.Contains(log, "Server rejected event") {
		t.Errorf("the API server refused something\n%s", logs())
	}
}
