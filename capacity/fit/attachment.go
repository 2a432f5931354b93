package fit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	csitranslation "k8s.io/csi-translation-lib"
	"k8s.io/csi-translation-lib/plugins"
	"k8s.io/klog/v2"
)

// attachment is a volume of a driver that counts against the node's limit.
type attachment struct {
	// id is the same for pods that share the volume; "" if none does.
	id, driver string
	// moved is true for a volume of a built-in plugin that the driver has taken
	// over: it counts only on nodes that have drivers.
	moved bool
	// unmade is true if there is no volume yet.
	unmade bool
	// needed is true if no node without the driver takes the pod.
	needed bool
}

// counts reports whether the volume is one of a driver on such a node.
func (a *attachment) counts(c *CSI) bool { return !a.moved || c != nil }

var translator = csitranslation.New()

// quiet is for a library that wants to log.
var quiet = klog.New(nil)

// movable are the built-in plugins that drivers have taken over. Source:
// kube-scheduler, isCSIMigrationOn.
var movable = []string{
	plugins.AWSEBSInTreePluginName, plugins.AzureDiskInTreePluginName, plugins.CinderInTreePluginName,
	plugins.GCEPDInTreePluginName, plugins.PortworxVolumePluginName,
}

// movablePlugin is the built-in plugin of a volume, or of one in a pod, that a
// driver has taken over, "" for none.
func movablePlugin(pv *corev1.PersistentVolume, inline *corev1.Volume) string {
	if pv != nil && !translator.IsPVMigratable(pv) || inline != nil && !translator.IsInlineMigratable(inline) {
		return ""
	}
	plugin, err := translator.GetInTreePluginNameFromSpec(pv, inline)
	if err != nil || !slices.Contains(movable, plugin) {
		return ""
	}
	return plugin
}

// inlineAttachment is what a volume that the pod itself names attaches, nil for
// nothing.
func inlineAttachment(inline *corev1.Volume, namespace string) *attachment {
	if movablePlugin(nil, inline) == "" {
		return nil
	}
	pv, err := translator.TranslateInTreeInlineVolumeToCSI(quiet, inline, namespace)
	if err != nil {
		return nil
	}
	return csiAttachment(pv, true)
}

// claimAttachment is what the claim's volume attaches, nil for nothing.
func claimAttachment(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, class *storagev1.StorageClass) *attachment {
	switch {
	case pv == nil && class == nil:
		return nil
	case pv == nil:
		a := &attachment{id: "\x00" + claimID(claim), driver: class.Provisioner, unmade: true}
		if translator.IsMigratableIntreePluginByName(class.Provisioner) {
			driver, err := translator.GetCSINameFromInTreeName(class.Provisioner)
			if err != nil || !slices.Contains(movable, class.Provisioner) {
				return nil
			}
			a.driver, a.moved = driver, true
		}
		return a
	case pv.Spec.CSI != nil:
		return csiAttachment(pv, false)
	case movablePlugin(pv, nil) == "":
		return nil
	}
	translated, err := translator.TranslateInTreePVToCSI(quiet, pv)
	if err != nil {
		return nil
	}
	return csiAttachment(translated, true)
}

func csiAttachment(pv *corev1.PersistentVolume, moved bool) *attachment {
	csi := pv.Spec.CSI
	if csi == nil || csi.Driver == "" || csi.VolumeHandle == "" {
		return nil
	}
	return &attachment{id: attachmentID(csi.Driver, csi.VolumeHandle), driver: csi.Driver, moved: moved}
}

func attachmentID(driver, handle string) string { return driver + "/" + handle }

// claimID is the claim's namespace and name.
func claimID(claim *corev1.PersistentVolumeClaim) string { return claim.Namespace + "/" + claim.Name }

// storageOf is how much the claim asks for.
func storageOf(claim *corev1.PersistentVolumeClaim) *resource.Quantity {
	return claim.Spec.Resources.Requests.Storage()
}
