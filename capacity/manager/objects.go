package manager

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	volumehelper "k8s.io/component-helpers/storage/volume"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// objects are what decides where pods fit beside pods and nodes.
type objects struct {
	namespaces map[types.NamespacedName]*corev1.Namespace
	claims     map[types.NamespacedName]*corev1.PersistentVolumeClaim
	volumes    map[types.NamespacedName]*corev1.PersistentVolume
	storage    map[types.NamespacedName]*storagev1.StorageClass
	drivers    map[types.NamespacedName]*storagev1.CSIDriver
	capacities map[types.NamespacedName]*storagev1.CSIStorageCapacity
	onNodes    map[types.NamespacedName]*storagev1.CSINode
	// attachments are by their nodes too: every change asks for those of each node.
	attachments map[string]map[types.NamespacedName]*storagev1.VolumeAttachment
	// free are the volumes that any claim may be bound to, by storage class, and kept
	// those that have a claim; nil when volumes have changed.
	free map[string][]*corev1.PersistentVolume
	kept map[types.NamespacedName][]*corev1.PersistentVolume
	// room are the capacities by storage class, nil when they have changed.
	room map[string][]*storagev1.CSIStorageCapacity
}

var _ fit.Objects = (*objects)(nil)

// kinds are those of the objects, for whoever follows them.
func (*objects) kinds() []client.Object {
	return []client.Object{
		&corev1.Namespace{}, &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}, &storagev1.StorageClass{},
		&storagev1.CSIDriver{}, &storagev1.CSIStorageCapacity{}, &storagev1.CSINode{}, &storagev1.VolumeAttachment{},
	}
}

// put takes over a new or changed object, or forgets one that is gone.
func (o *objects) put(object any, gone bool) {
	switch x := object.(type) {
	case *corev1.Namespace:
		put(&o.namespaces, x, gone)
	case *corev1.PersistentVolumeClaim:
		put(&o.claims, x, gone)
	case *corev1.PersistentVolume:
		put(&o.volumes, x, gone)
		o.free, o.kept = nil, nil
	case *storagev1.StorageClass:
		put(&o.storage, x, gone)
	case *storagev1.CSIDriver:
		put(&o.drivers, x, gone)
	case *storagev1.CSIStorageCapacity:
		put(&o.capacities, x, gone)
		o.room = nil
	case *storagev1.CSINode:
		put(&o.onNodes, x, gone)
	case *storagev1.VolumeAttachment:
		on := o.attachments[x.Spec.NodeName]
		put(&on, x, gone)
		if o.attachments == nil {
			o.attachments = map[string]map[types.NamespacedName]*storagev1.VolumeAttachment{}
		}
		o.attachments[x.Spec.NodeName] = on
		if len(on) == 0 {
			delete(o.attachments, x.Spec.NodeName)
		}
	}
}

func put[T client.Object](all *map[types.NamespacedName]T, object T, gone bool) {
	switch {
	case gone:
		delete(*all, client.ObjectKeyFromObject(object))
	case *all == nil:
		*all = map[types.NamespacedName]T{client.ObjectKeyFromObject(object): object}
	default:
		(*all)[client.ObjectKeyFromObject(object)] = object
	}
}

// csi is what the volumes' drivers say of the node, nil if nothing.
func (o *objects) csi(node string) *fit.CSI {
	on := o.onNodes[types.NamespacedName{Name: node}]
	if on == nil {
		return nil
	}
	return fit.CSIOf(on, slices.Collect(maps.Values(o.attachments[node])), o)
}

// Namespaces implements fit.Objects.
func (o *objects) Namespaces() []*corev1.Namespace {
	return inOrder(o.namespaces, func(*corev1.Namespace) bool { return true })
}

// Claim implements fit.Objects.
func (o *objects) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return o.claims[types.NamespacedName{Namespace: namespace, Name: name}]
}

// Volume implements fit.Objects.
func (o *objects) Volume(name string) *corev1.PersistentVolume {
	return o.volumes[types.NamespacedName{Name: name}]
}

// VolumesFor implements fit.Objects.
func (o *objects) VolumesFor(claim *corev1.PersistentVolumeClaim, class string) []*corev1.PersistentVolume {
	if o.free == nil {
		o.sortVolumes()
	}
	kept := slices.DeleteFunc(slices.Clone(o.kept[client.ObjectKeyFromObject(claim)]), func(v *corev1.PersistentVolume) bool {
		return !volumehelper.IsVolumeBoundToClaim(v, claim) || volumehelper.GetPersistentVolumeClass(v) != class
	})
	if len(kept) == 0 {
		return o.free[class]
	}
	slices.SortFunc(kept, byName)
	return append(kept, o.free[class]...)
}

// sortVolumes finds out which volumes claims may be bound to. Most have a claim already.
func (o *objects) sortVolumes() {
	o.free, o.kept = map[string][]*corev1.PersistentVolume{}, map[types.NamespacedName][]*corev1.PersistentVolume{}
	for _, v := range o.volumes {
		if of := v.Spec.ClaimRef; of != nil {
			claim := types.NamespacedName{Namespace: of.Namespace, Name: of.Name}
			o.kept[claim] = append(o.kept[claim], v)
		}
	}
	for _, v := range inOrder(o.volumes, fit.Free) {
		class := volumehelper.GetPersistentVolumeClass(v)
		o.free[class] = append(o.free[class], v)
	}
}

// StorageClass implements fit.Objects.
func (o *objects) StorageClass(name string) *storagev1.StorageClass {
	return o.storage[types.NamespacedName{Name: name}]
}

// Driver implements fit.Objects.
func (o *objects) Driver(name string) *storagev1.CSIDriver {
	return o.drivers[types.NamespacedName{Name: name}]
}

// CapacitiesOf implements fit.Objects.
func (o *objects) CapacitiesOf(class string) []*storagev1.CSIStorageCapacity {
	if o.room == nil {
		o.room = map[string][]*storagev1.CSIStorageCapacity{}
		for _, c := range inOrder(o.capacities, func(*storagev1.CSIStorageCapacity) bool { return true }) {
			o.room[c.StorageClassName] = append(o.room[c.StorageClassName], c)
		}
	}
	return o.room[class]
}

// Devices implements fit.Objects. Device classes belong to an API that clusters
// before 1.34 do not have, and are not read.
func (*objects) Devices(corev1.ResourceName) bool { return false }

// inOrder returns the objects that are so, in the order of their names: classes must
// not depend on that of a map.
func inOrder[T client.Object](all map[types.NamespacedName]T, so func(T) bool) []T {
	var found []T
	for _, o := range all {
		if so(o) {
			found = append(found, o)
		}
	}
	slices.SortFunc(found, byName)
	return found
}

func byName[T client.Object](a, b T) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}
