package sim

import (
	"maps"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// logChange describes a change of the cluster in one line.
func (w *World) logChange(e cluster.Event) {
	if !w.record {
		return
	}
	verb := "changes"
	switch {
	case e.Old == nil:
		verb = "creates"
	case e.New == nil:
		verb = "removes"
	}
	switch o := e.Object().(type) {
	case *corev1.Pod:
		gates := make([]string, len(o.Spec.SchedulingGates))
		for i, g := range o.Spec.SchedulingGates {
			gates[i] = g.Name
		}
		w.logf("%s %s pod %s: %s node=%q nominated=%q gates=%v deleted=%t", e.By, verb, o.Name, o.Status.Phase, o.Spec.NodeName, o.Status.NominatedNodeName, gates, o.DeletionTimestamp != nil)
	case *corev1.Node:
		var taints, notes []string
		for _, t := range o.Spec.Taints {
			taints = append(taints, t.Key)
		}
		for _, key := range slices.Sorted(maps.Keys(o.Annotations)) {
			if strings.HasPrefix(key, api.Group) {
				notes = append(notes, strings.TrimPrefix(key, api.Group+"/"))
			}
		}
		w.logf("%s %s node %s: fenced=%t taints=%v notes=%v", e.By, verb, o.Name, o.Labels[api.RetiredLabel] != "", taints, notes)
	case *batchv1.Job:
		w.logf("%s %s job %s: %d succeeded", e.By, verb, o.Name, o.Status.Succeeded)
	default:
		w.logf("%s %s %T %s", e.By, verb, o, o.GetName())
	}
}
