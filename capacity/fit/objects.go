package fit

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// Objects finds what the scheduler looks at beside pods and nodes. What is
// returned is read only; nil means that there is no such object.
type Objects interface {
	// Namespaces are all namespaces.
	Namespaces() []*corev1.Namespace
	Claim(namespace, name string) *corev1.PersistentVolumeClaim
	Volume(name string) *corev1.PersistentVolume
	// VolumesFor are those of the storage class's volumes that the claim may be bound
	// to: the free ones, and those that are kept for it. What is returned for several
	// claims may be one and the same list.
	VolumesFor(claim *corev1.PersistentVolumeClaim, class string) []*corev1.PersistentVolume
	StorageClass(name string) *storagev1.StorageClass
	Driver(name string) *storagev1.CSIDriver
	// CapacitiesOf says where there is how much room for a storage class.
	CapacitiesOf(class string) []*storagev1.CSIStorageCapacity
	// Devices reports whether a device class provides the extended resource.
	Devices(name corev1.ResourceName) bool
}
