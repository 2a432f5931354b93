package cluster

import (
	corev1 "k8s.io/api/core/v1"
)

// feasible reports whether the node can take the pod beside those that are on
// it: the few rules of the real scheduler that the workloads make use of.
func feasible(pod *corev1.Pod, node *corev1.Node, on []*corev1.Pod) bool {
	for key, value := range pod.Spec.NodeSelector {
		if node.Labels[key] != value {
			return false
		}
	}
	if name := target(pod); name != "" && name != node.Name {
		return false
	}
	for i := range node.Spec.Taints {
		if t := &node.Spec.Taints[i]; t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(pod, t) {
			return false
		}
	}
	wantCPU, wantMemory := Requests(pod)
	freeCPU, freeMemory, freePods := Room(node, on)
	return wantCPU <= freeCPU && wantMemory <= freeMemory && freePods > 0
}

// Requests returns what the pod takes: thousandths of a core, and bytes.
func Requests(pod *corev1.Pod) (cpu, memory int64) {
	for i := range pod.Spec.Containers {
		requests := pod.Spec.Containers[i].Resources.Requests
		cpu += requests.Cpu().MilliValue()
		memory += requests.Memory().Value()
	}
	return cpu, memory
}

// Room returns what the node has left beside those pods.
func Room(node *corev1.Node, on []*corev1.Pod) (cpu, memory, pods int64) {
	cpu = node.Status.Allocatable.Cpu().MilliValue()
	memory = node.Status.Allocatable.Memory().Value()
	pods = node.Status.Allocatable.Pods().Value()
	for _, p := range on {
		c, m := Requests(p)
		cpu, memory, pods = cpu-c, memory-m, pods-1
	}
	return cpu, memory, pods
}

// leftover ranks nodes as the scheduler does by default: the emptier the better.
func leftover(node *corev1.Node, on []*corev1.Pod) int64 {
	cpu, _, _ := Room(node, on)
	if all := node.Status.Allocatable.Cpu().MilliValue(); all > 0 {
		return 100 * cpu / all
	}
	return 0
}

func tolerates(pod *corev1.Pod, taint *corev1.Taint) bool {
	for _, t := range pod.Spec.Tolerations {
		effect := t.Effect == "" || t.Effect == taint.Effect
		switch {
		case !effect:
		case t.Operator == corev1.TolerationOpExists && (t.Key == "" || t.Key == taint.Key):
			return true
		case t.Operator != corev1.TolerationOpExists && t.Key == taint.Key && t.Value == taint.Value:
			return true
		}
	}
	return false
}

// target returns the node that a DaemonSet's pod is made for, "" for others.
func target(pod *corev1.Pod) string {
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, field := range term.MatchFields {
				return field.Values[0]
			}
		}
	}
	return ""
}
