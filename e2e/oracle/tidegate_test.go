package oracle

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/volume"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
	"github.com/tidegate-k3s/tidegate/capacity/manager"
)

// tidegate is Tidegate's view of a cluster.
type tidegate struct {
	compiler *fit.Compiler
	world    *fit.World
	places   []*fit.Place
	// classes are those of the cluster's Incoming.
	classes []*fit.Class
}

func newTidegate(c *cluster) *tidegate {
	t := &tidegate{compiler: fit.NewCompiler(), world: fit.NewWorld()}
	t.compiler.Objects = objects{c}
	pods, incoming := cached(c.Pods), cached(c.Incoming)
	var bound []*fit.Class
	for generation := -1; generation != t.compiler.Generation(); {
		generation = t.compiler.Generation()
		bound, t.classes = nil, nil
		for _, p := range pods {
			bound = append(bound, t.compiler.Bound(p))
		}
		for _, p := range incoming {
			t.classes = append(t.classes, t.compiler.Class(p, ""))
		}
	}
	for i, n := range c.Nodes {
		name := n.Name
		if isUnborn(n) {
			name = ""
		}
		shape := shapeOf(n, name, c)
		free := shape.Allocatable
		var standing []fit.Count
		for i, p := range c.Pods {
			if p.Spec.NodeName != n.Name {
				continue
			}
			count := fit.Count{Class: bound[i], N: 1}
			if p.DeletionTimestamp != nil {
				count.Terminating = 1
			}
			free = free.Sub(bound[i].Requests)
			standing = append(standing, count)
		}
		if name == "" && len(standing) == 0 {
			t.places = append(t.places, t.exchanged(c, i, &shape))
			continue
		}
		t.places = append(t.places, t.world.Add(fit.PlaceOf(&shape, name, free, standing)))
	}
	return t
}

// exchanged adds a machine that was another one first and judged as such.
func (t *tidegate) exchanged(c *cluster, i int, shape *fit.Shape) *fit.Place {
	before := shapeOf(c.Nodes[(i+1)%len(c.Nodes)], "", c)
	place := t.world.Add(fit.PlaceOf(&before, "", before.Allocatable, nil))
	for _, class := range t.classes {
		t.world.Check(place, class)
	}
	if t.world.Exchange(place, shape, shape.Allocatable) {
		return place
	}
	t.world.Remove(place)
	return t.world.Add(fit.PlaceOf(shape, "", shape.Allocatable, nil))
}

// cached are the objects as the manager's caches hold them.
func cached[T interface{ DeepCopy() T }](objects []T) []T {
	var trimmed []T
	for _, o := range objects {
		o = o.DeepCopy()
		if _, err := manager.Trim(o); err != nil {
			panic(err) // it fails for no object
		}
		trimmed = append(trimmed, o)
	}
	return trimmed
}

// shapeOf is the node's shape, with the name "" that of a machine like it which
// does not exist yet.
func shapeOf(n *corev1.Node, name string, c *cluster) fit.Shape {
	shape := fit.ShapeOf(cached([]*corev1.Node{n})[0])
	shape.CSI = c.csi(n.Name)
	if name == "" {
		shape.Labels = maps.Clone(shape.Labels)
		delete(shape.Labels, corev1.LabelHostname)
	}
	return shape
}

// csi is what the volume drivers of the node say.
func (c *cluster) csi(name string) *fit.CSI {
	var node *storagev1.CSINode
	var attached []*storagev1.VolumeAttachment
	for _, o := range c.Others {
		switch o := o.(type) {
		case *storagev1.CSINode:
			if o.Name == name {
				node = o
			}
		case *storagev1.VolumeAttachment:
			attached = append(attached, o)
		}
	}
	return fit.CSIOf(node, attached, objects{c})
}

// objects finds what is beside nodes and pods for Tidegate's compiler.
type objects struct{ *cluster }

// all returns the cluster's objects of one type that are so.
func all[T any](c *cluster, so func(T) bool) []T {
	var found []T
	for _, o := range c.Others {
		if o, ok := o.(T); ok && so(o) {
			found = append(found, o)
		}
	}
	return found
}

func first[T any](c *cluster, so func(T) bool) (found T) {
	if list := all(c, so); len(list) > 0 {
		return list[0]
	}
	return found
}

func (o objects) Namespaces() []*corev1.Namespace {
	return all(o.cluster, func(*corev1.Namespace) bool { return true })
}

func (o objects) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return first(o.cluster, func(c *corev1.PersistentVolumeClaim) bool { return c.Namespace == namespace && c.Name == name })
}

func (o objects) Volume(name string) *corev1.PersistentVolume {
	return first(o.cluster, func(v *corev1.PersistentVolume) bool { return v.Name == name })
}

func (o objects) VolumesFor(claim *corev1.PersistentVolumeClaim, class string) []*corev1.PersistentVolume {
	return all(o.cluster, func(v *corev1.PersistentVolume) bool {
		return volume.GetPersistentVolumeClass(v) == class && (fit.Free(v) || volume.IsVolumeBoundToClaim(v, claim))
	})
}

func (o objects) StorageClass(name string) *storagev1.StorageClass {
	return first(o.cluster, func(c *storagev1.StorageClass) bool { return c.Name == name })
}

func (o objects) Driver(name string) *storagev1.CSIDriver {
	return first(o.cluster, func(d *storagev1.CSIDriver) bool { return d.Name == name })
}

func (o objects) CapacitiesOf(class string) []*storagev1.CSIStorageCapacity {
	return all(o.cluster, func(c *storagev1.CSIStorageCapacity) bool { return c.StorageClassName == class })
}

func (objects) Devices(corev1.ResourceName) bool { return false }
