package fit

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// CSI is what the volume drivers of a node say.
type CSI struct {
	// Unknown is true for a machine of which nobody knows yet all drivers that it will
	// have: none is missing.
	Unknown bool
	// Limits is how many volumes each driver can attach, Unlimited where it
	// does not say.
	Limits map[string]int
	// Topology are the labels by which the drivers say where the node is.
	Topology sets.Set[string]
	// Moved are the built-in plugins that drivers have taken over.
	Moved sets.Set[string]
	// Attached are the volumes that are attached whether a pod uses them or
	// not, each with its driver.
	Attached map[string]string
}

// Unlimited is the limit of a driver that does not say one.
const Unlimited = -1

// CSIOf is what the drivers say of a node: its CSINode, nil if there is none,
// and the volumes that are attached to it.
func CSIOf(node *storagev1.CSINode, attached []*storagev1.VolumeAttachment, objects Objects) *CSI {
	if node == nil {
		return nil
	}
	c := &CSI{Limits: map[string]int{}, Topology: sets.Set[string]{}, Attached: map[string]string{}, Moved: migrated(node)}
	for _, d := range node.Spec.Drivers {
		c.Limits[d.Name] = Unlimited
		if d.Allocatable != nil && d.Allocatable.Count != nil {
			c.Limits[d.Name] = int(*d.Allocatable.Count)
		}
		c.Topology.Insert(d.TopologyKeys...)
	}
	for _, a := range attached {
		if a.Spec.NodeName != node.Name || a.Spec.Attacher == "" || a.Spec.Source.PersistentVolumeName == nil {
			continue
		}
		if pv := objects.Volume(*a.Spec.Source.PersistentVolumeName); pv != nil && pv.Spec.CSI != nil {
			c.Attached[attachmentID(a.Spec.Attacher, pv.Spec.CSI.VolumeHandle)] = a.Spec.Attacher
		}
	}
	return c
}

// migrated are the plugins that the node says to have left to drivers.
func migrated(node *storagev1.CSINode) sets.Set[string] {
	if list := node.Annotations[corev1.MigratedPluginsAnnotationKey]; list != "" {
		return sets.New(strings.Split(list, ",")...)
	}
	return nil
}

func (c *CSI) has(driver string) bool {
	if c == nil {
		return false
	}
	_, ok := c.Limits[driver]
	return ok || c.Unknown
}

func (c *CSI) moved(plugin string) bool { return c != nil && plugin != "" && c.Moved.Has(plugin) }

// Equal reports whether the drivers say the same.
func (c *CSI) Equal(other *CSI) bool {
	if c == nil || other == nil {
		return c == other
	}
	return c.Unknown == other.Unknown && maps.Equal(c.Limits, other.Limits) && c.Topology.Equal(other.Topology) && c.Moved.Equal(other.Moved) && maps.Equal(c.Attached, other.Attached)
}

// Empty returns what the drivers say of such a node that has no volumes.
func (c *CSI) Empty() *CSI {
	if c == nil || len(c.Attached) == 0 {
		return c
	}
	empty := *c
	empty.Attached = nil
	return &empty
}

// LacksDrivers reports whether drivers of the other shape have not registered on a
// node of this one. They do so some time after the node is ready: first they set
// their labels, then they stand in its CSINode. While nobody knows which there will be,
// one more may come.
func (s *Shape) LacksDrivers(of *Shape) bool {
	switch {
	case of.CSI == nil:
		return false
	case of.CSI.Unknown:
		return true
	}
	for driver := range of.CSI.Limits {
		if !s.CSI.has(driver) {
			return true
		}
	}
	for key := range of.CSI.Topology {
		if _, ok := s.Labels[key]; !ok {
			return true
		}
	}
	return false
}

// WithDrivers returns the shape once those drivers of the other one, which is in the
// same zone, have registered that it lacks.
func (s Shape) WithDrivers(of *Shape) *Shape {
	if of.CSI == nil {
		return &s
	}
	labels := map[string]string{}
	for key := range of.CSI.Topology {
		if value, ok := of.Labels[key]; ok {
			labels[key] = value
		}
	}
	maps.Copy(labels, s.Labels)
	s.Labels = labels
	csi := CSI{Unknown: of.CSI.Unknown, Limits: maps.Clone(of.CSI.Limits), Topology: of.CSI.Topology, Moved: of.CSI.Moved}
	if own := s.CSI; own != nil {
		if csi.Limits == nil {
			csi.Limits = map[string]int{}
		}
		maps.Copy(csi.Limits, own.Limits)
		csi.Topology, csi.Moved, csi.Attached = csi.Topology.Union(own.Topology), csi.Moved.Union(own.Moved), own.Attached
	}
	s.CSI = &csi
	return &s
}

// WithoutDrivers returns the shape of a node on which no driver has registered.
func (s Shape) WithoutDrivers() *Shape {
	if s.CSI == nil {
		return &s
	}
	s.Labels = maps.Clone(s.Labels)
	for key := range s.CSI.Topology {
		delete(s.Labels, key)
	}
	s.CSI = nil
	return &s
}

// InZone returns the shape of such a node in that zone. Drivers and older versions of
// Kubernetes have labels of their own for the zone, with the same name of it. A shape
// that is in no zone is in none here either.
func (s Shape) InZone(zone string) *Shape {
	seen := s.Labels[corev1.LabelTopologyZone]
	if seen == "" || zone == "" || seen == zone {
		return &s
	}
	s.Labels = maps.Clone(s.Labels)
	for key, value := range s.Labels {
		if value == seen {
			s.Labels[key] = zone
		}
	}
	return &s
}
