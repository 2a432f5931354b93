package manager

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// conditionTaints is the prefix of the taints by which Kubernetes tells of a
// node's condition: not ready, cordoned, under pressure and the like. Source:
// Kubernetes documentation, "Well-Known Labels, Annotations and Taints".
const conditionTaints = "node.kubernetes.io/"

// defaultMaxPods is kubelet's own limit where a pool's tags do not name one.
const defaultMaxPods = 110

// shapeFromTags is what a pool's tags say of its nodes, nil if they do not say
// how large one is.
func shapeFromTags(pool capacity.Pool) *fit.Shape {
	resources := pool.Settings.Resources
	if resources.Cpu().IsZero() || resources.Memory().IsZero() {
		return nil
	}
	if resources.Pods().IsZero() {
		resources = maps.Clone(resources)
		resources[corev1.ResourcePods] = *resource.NewQuantity(defaultMaxPods, resource.DecimalSI)
	}
	labels := map[string]string{
		corev1.LabelOSStable:   "linux",
		corev1.LabelArchStable: "amd64",
		api.PoolLabel:          pool.Name,
	}
	maps.Copy(labels, pool.Settings.Labels)
	return &fit.Shape{Labels: labels, Taints: pool.Settings.Taints, Allocatable: fit.ResourcesOf(resources)}
}

// shapeFromNode is what the next machine of the pool will look like, judged by
// a ready node of it: all but what belongs to that one node or passes by.
func shapeFromNode(n *capacity.Node, pool string) *fit.Shape {
	labels := map[string]string{}
	maps.Copy(labels, n.Labels)
	delete(labels, corev1.LabelHostname)
	delete(labels, api.RetiredLabel)
	labels[api.PoolLabel] = pool
	taints := slices.DeleteFunc(slices.Clone(n.Taints), func(t corev1.Taint) bool {
		return t.Key == api.RetiredTaint || strings.HasPrefix(t.Key, conditionTaints)
	})
	return &fit.Shape{Labels: labels, Taints: taints, Allocatable: n.Allocatable}
}
