package manager

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"

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

// What of a machine's hardware its node does not offer, in per mille. No CPU: k3s
// sets no --kube-reserved and no --system-reserved, and kubelet's default is
// none.
const (
	// Firmware, hypervisor and kernel keep up to 7.5 % of the memory of a VM
	// size. Source: Karpenter documentation, vm-memory-overhead-percent.
	keptMemory = 75
	// kubelet keeps 10 % of its file system free by default, k3s 5 %, and
	// partitions take some of the disk. Source: Kubernetes documentation,
	// "Node-pressure Eviction", nodefs.available.
	keptStorage = 100
)

// shapeFromCloud is what the cloud says of a pool's nodes: its tags, and where
// these are silent, the hardware. It is nil if neither says how large one is.
func shapeFromCloud(pool capacity.Pool) *fit.Shape {
	resources := fromHardware(pool.Hardware)
	maps.Copy(resources, pool.Settings.Resources)
	if resources.Cpu().IsZero() || resources.Memory().IsZero() {
		return nil
	}
	if resources.Pods().IsZero() {
		resources[corev1.ResourcePods] = *resource.NewQuantity(defaultMaxPods, resource.DecimalSI)
	}
	labels := map[string]string{
		corev1.LabelOSStable:   "linux",
		corev1.LabelArchStable: cmp.Or(pool.Arch, "amd64"),
		api.PoolLabel:          pool.Name,
	}
	maps.Copy(labels, pool.Settings.Labels)
	return &fit.Shape{Labels: labels, Taints: pool.Settings.Taints, Allocatable: fit.ResourcesOf(resources), CSI: &fit.CSI{Unknown: true}}
}

// fromHardware is what a node on the hardware offers, by the rule above.
func fromHardware(hardware corev1.ResourceList) corev1.ResourceList {
	offers := corev1.ResourceList{}
	maps.Copy(offers, hardware)
	for name, kept := range map[corev1.ResourceName]int64{corev1.ResourceMemory: keptMemory, corev1.ResourceEphemeralStorage: keptStorage} {
		if has, ok := hardware[name]; ok {
			offers[name] = *resource.NewQuantity(has.Value()-has.Value()/1000*kept, has.Format)
		}
	}
	return offers
}

// shapeFromNode is what the next machine of the pool will look like, judged by
// a ready node of it: all but what belongs to that one node or passes by, and what
// its volume drivers say, which they do later.
func shapeFromNode(n *capacity.Node, pool string) *fit.Shape {
	labels := commonLabels(n, n.WithoutDrivers().Labels)
	delete(labels, api.RetiredLabel)
	labels[api.PoolLabel] = pool
	taints := slices.DeleteFunc(slices.Clone(n.Taints), func(t corev1.Taint) bool {
		return api.IsOurs(t.Key) || strings.HasPrefix(t.Key, conditionTaints)
	})
	return &fit.Shape{Labels: labels, Taints: taints, Allocatable: n.Allocatable, CSI: &fit.CSI{Unknown: true}}
}

// driversOf is what the volume drivers of the pool's next machine will say, judged by a
// node of it.
func driversOf(n *capacity.Node) *fit.Shape {
	return &fit.Shape{Labels: commonLabels(n, n.Labels), CSI: n.CSI.Empty()}
}

// commonLabels are those of the labels that do not name this one node.
func commonLabels(n *capacity.Node, labels map[string]string) map[string]string {
	common, own := map[string]string{}, namesNode(n.Name, n.Labels)
	for label, value := range labels {
		if !own(label, value) {
			common[label] = value
		}
	}
	return common
}

// namesNode returns what tells the labels that name the one node: its host name's, and
// those of drivers whose volumes are disks in the machine.
func namesNode(name string, labels map[string]string) func(label, value string) bool {
	host := hostOf(name, labels)
	return func(label, value string) bool {
		return label == corev1.LabelHostname || value == host || value == name
	}
}

// hostOf is the host name by which volumes know the node of that name.
func hostOf(name string, labels map[string]string) string {
	return cmp.Or(labels[corev1.LabelHostname], name)
}

// publishedShape is what the next leader is to know of the shape.
func publishedShape(s *fit.Shape) *api.NodeShape {
	published := &api.NodeShape{Labels: s.Labels, Taints: s.Taints, Allocatable: s.Allocatable.List(), Volumes: &api.VolumeDrivers{}}
	if csi := s.CSI; csi != nil {
		published.Volumes = &api.VolumeDrivers{Unknown: csi.Unknown, Limits: csi.Limits, Topology: sets.List(csi.Topology), Moved: sets.List(csi.Moved)}
	}
	return published
}

// restoredShape is the shape that was published. An earlier version did not know of
// volume drivers.
func restoredShape(published *api.NodeShape) *fit.Shape {
	s := &fit.Shape{Labels: published.Labels, Taints: published.Taints, Allocatable: fit.ResourcesOf(published.Allocatable), CSI: &fit.CSI{Unknown: true}}
	if v := published.Volumes; v != nil {
		s.CSI = &fit.CSI{Unknown: v.Unknown, Limits: v.Limits, Topology: sets.New(v.Topology...), Moved: sets.New(v.Moved...)}
	}
	return s
}
