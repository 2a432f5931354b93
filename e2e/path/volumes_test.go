package path

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	diskDriver = "disk.csi.azure.com"
	// diskZone is the label by which the driver says where a node is.
	diskZone = "topology.disk.csi.azure.com/zone"
)

// Pods go where their volumes are. A machine is bought for a disk in the zone of the
// pool's machines, once the pool has shown its driver; until that has registered on the
// new node the pod stays at the gate. For a volume on one node's own disk none is bought.
func TestVolumes(t *testing.T) {
	w := newWorld(t, "volumes")
	t.Parallel()
	tidegate(t)
	elsewhere := w.claim("elsewhere", diskZone, "zone-9")
	disk := w.claim("disk", diskZone, "zone-1")

	w.submit(w.pod("first", "5", 0))
	w.phase("first", corev1.PodRunning)
	w.submit(w.using("lost", elsewhere))
	w.waits("lost", "NoPoolFits", "a volume cannot be reached")
	w.register(w.get("first").Spec.NodeName)

	w.submit(w.using("second", disk))
	w.eventually("the pod waits for the driver", func() error {
		if nodes := w.nodes(); len(nodes) != 2 {
			return fmt.Errorf("%d nodes", len(nodes))
		}
		return nil
	})
	w.waits("second", "MachinesComing", "as soon as the drivers of its volumes have registered")
	if got := w.get("second").Spec.NodeName; got != "" {
		t.Fatalf("it went to node %s, whose driver has not registered", got)
	}
	for _, n := range w.nodes() {
		if n.Name != w.get("first").Spec.NodeName {
			w.register(n.Name)
		}
	}
	node := w.phase("second", corev1.PodRunning).Spec.NodeName

	local := w.claim("local", corev1.LabelHostname, node)
	w.submit(w.using("third", local))
	w.waits("third", "NoPoolFits", "waiting for room on node "+node)
	w.delete("second")
	if got := w.phase("third", corev1.PodRunning).Spec.NodeName; got != node {
		t.Errorf("it runs on node %s, want %s, where its volume is", got, node)
	}

	w.delete("third")
	w.delete("first")
	w.delete("lost")
	for _, claim := range []string{elsewhere, disk, local} {
		w.removeClaim(claim)
	}
	w.atRest(2)
}

// claim makes a claim that is bound to a volume which nodes with that label reach, and
// returns its name.
func (w *world) claim(name, label, value string) string {
	w.t.Helper()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	volume := w.volume(name)
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	_, err := w.Client.CoreV1().PersistentVolumes().Create(w.t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: volume},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: diskDriver, VolumeHandle: volume}},
			ClaimRef:               &corev1.ObjectReference{Namespace: w.namespace, Name: name},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: label, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}},
			}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.Client.CoreV1().PersistentVolumeClaims(w.namespace).Create(w.t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: modes, Resources: corev1.VolumeResourceRequirements{Requests: size}, StorageClassName: new(""), VolumeName: volume,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return name
}

// removeClaim removes the claim with its volume.
func (w *world) removeClaim(name string) {
	w.t.Helper()
	if err := w.Client.CoreV1().PersistentVolumeClaims(w.namespace).Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Error(err)
	}
	if err := w.Client.CoreV1().PersistentVolumes().Delete(w.t.Context(), w.volume(name), metav1.DeleteOptions{}); err != nil {
		w.t.Error(err)
	}
}

// volume is the name of the claim's volume.
func (w *world) volume(claim string) string { return w.pool + "-" + claim }

// using is a pod that uses the claim and leaves no room for another one.
func (w *world) using(name, claim string) *corev1.Pod {
	p := w.pod(name, "5", 0)
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}
	return p
}

// register does what kubelet does for the driver of disks, once that has started.
func (w *world) register(node string) {
	w.t.Helper()
	label := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"zone-1"}}}`, diskZone)
	n, err := w.Client.CoreV1().Nodes().Patch(w.t.Context(), node, types.MergePatchType, label, metav1.PatchOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.Client.StorageV1().CSINodes().Create(w.t.Context(), &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: node, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node, UID: n.UID}}},
		Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{
			Name: diskDriver, NodeID: node, TopologyKeys: []string{diskZone}, Allocatable: &storagev1.VolumeNodeResources{Count: new(int32(8))},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
}
