package oracle

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
)

// These rules look at a pod's volumes.
func init() {
	rules["claims"] = rule{objects: func(g *generator) { g.storage(false) }, pod: useClaims}
	rules["unbound"] = rule{objects: func(g *generator) { g.storage(true) }, pod: useClaims}
	rules["limits"] = rule{objects: func(g *generator) { g.storage(false) }, node: limitNode, pod: useClaims}
	rules["disks"] = rule{node: limitNode, pod: useDisks}
}

const (
	diskDriver = "disk.csi.azure.com"
	// The driver of a built-in plugin that no node says to have moved.
	sphereDriver = "csi.vsphere.vmware.com"
	ownDriver    = "own.example.com"
)

var storageClasses = []string{"immediate", "waits", "topology", "static", "capacity", "azure"}

// storage makes storage classes, drivers, claims and volumes; with waiting, most
// claims wait for their pod to be scheduled.
func (g *generator) storage(waiting bool) {
	if len(all(&g.cluster, func(*storagev1.StorageClass) bool { return true })) > 0 {
		return // another rule has
	}
	for _, name := range storageClasses {
		class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: ownDriver, VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer)}
		switch name {
		case "immediate":
			class.VolumeBindingMode = new(storagev1.VolumeBindingImmediate)
		case "topology":
			for range g.IntN(3) {
				var term corev1.TopologySelectorTerm
				for range g.IntN(3) {
					term.MatchLabelExpressions = append(term.MatchLabelExpressions, corev1.TopologySelectorLabelRequirement{
						Key: pick(g, []string{corev1.LabelTopologyZone, "disk"}), Values: append(some(g, 1, []string{"1", "ssd"}), pick(g, []string{"2", "hdd"})),
					})
				}
				class.AllowedTopologies = append(class.AllowedTopologies, term)
			}
		case "static":
			class.Provisioner = volume.NotSupportedProvisioner
		case "capacity":
			class.Provisioner = "capacity.example.com"
		case "azure":
			class.Provisioner = pick(g, []string{"kubernetes.io/azure-disk", "kubernetes.io/azure-disk", "kubernetes.io/vsphere-volume"})
		}
		g.Others = append(g.Others, class)
	}
	for _, name := range []string{ownDriver, diskDriver, "capacity.example.com"} {
		driver := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSIDriverSpec{StorageCapacity: new(name == "capacity.example.com")}}
		if g.chance(30) {
			driver.Spec.PreventPodSchedulingIfMissing = new(true)
		}
		g.Others = append(g.Others, driver)
	}
	for i := range g.IntN(4) {
		capacity := &storagev1.CSIStorageCapacity{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("capacity-%d", i), Namespace: "storage"}, StorageClassName: "capacity",
			Capacity: new(amounts(g, []string{"1Gi", "5Gi", "9Gi"})),
		}
		if g.chance(80) { // else the driver has no room anywhere
			capacity.NodeTopology = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelTopologyZone: pick(g, zones)}}
		}
		if g.chance(30) {
			capacity.MaximumVolumeSize = new(amounts(g, []string{"1Gi", "9Gi"}))
		}
		g.Others = append(g.Others, capacity)
	}
	g.spareVolumes()
	homes := namespaces
	if g.chance(50) {
		homes = homes[:1] // so that pods have more claims to choose from
	}
	for i := range claimCount {
		g.claim(i, pick(g, homes), waiting)
	}
}

const claimCount = 8

// size is different for each volume: of equal ones the scheduler takes either.
func size(i int) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(int64(1+i)<<30, resource.BinarySI)}
}

// spareVolumes makes volumes that claims may be bound to, some tied to a node
// as local-path volumes are. No two are kept for the same claim: the scheduler
// would take whichever its cache lists first.
func (g *generator) spareVolumes() {
	kept := g.Perm(claimCount)
	for i := range 1 + g.IntN(5) {
		pv := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("spare-%d", i), Labels: map[string]string{"kind": pick(g, []string{"fast", "slow"})}},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: pick(g, []string{"static", "static", "waits"}), Capacity: size(i + 5),
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteOncePod},
			},
			Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
		}
		if g.chance(15) {
			pv.Status.Phase = corev1.VolumeReleased
		}
		if g.chance(15) {
			pv.Spec.ClaimRef = &corev1.ObjectReference{Namespace: pick(g, namespaces), Name: fmt.Sprintf("claim-%d", kept[i])}
		}
		g.tie(pv)
		g.Others = append(g.Others, pv)
	}
}

// tie gives the volume a node affinity or not.
func (g *generator) tie(pv *corev1.PersistentVolume) {
	if g.chance(40) {
		return
	}
	requirement := corev1.NodeSelectorRequirement{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{pick(g, zones), pick(g, zones)}}
	if g.chance(40) {
		requirement.Key, requirement.Values = corev1.LabelHostname, []string{fmt.Sprintf("node-%d", g.IntN(5))}
	}
	pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
		{MatchExpressions: []corev1.NodeSelectorRequirement{requirement}},
	}}}
}

// claim makes a claim, with its volume if it is bound.
func (g *generator) claim(i int, namespace string, waiting bool) {
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("claim-%d", i), Namespace: namespace, UID: types.UID(fmt.Sprintf("uid-claim-%d", i)), Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new(pick(g, storageClasses)),
			AccessModes:      []corev1.PersistentVolumeAccessMode{pick(g, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteOnce, corev1.ReadWriteOnce, corev1.ReadWriteOncePod})},
			Resources:        corev1.VolumeResourceRequirements{Requests: size(i)},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	defer func() { g.Others = append(g.Others, claim) }()
	if waiting && g.chance(60) {
		claim.Spec.StorageClassName = new("static")
	}
	if i == 0 && g.chance(20) {
		claim.Spec.Resources.Requests = nil // the smallest there can be
	}
	switch g.IntN(30) {
	case 0:
		claim.Status.Phase = corev1.ClaimLost
	case 1:
		now := metav1.Now()
		claim.DeletionTimestamp, claim.Finalizers = &now, []string{"example.com/slow"}
	case 2:
		claim.Spec.StorageClassName = new("missing")
	case 3:
		claim.Spec.StorageClassName = nil
	case 4:
		claim.Spec.VolumeName = "missing"
	}
	if g.chance(30) != waiting {
		claim.Status.Phase = corev1.ClaimPending
		if g.chance(20) {
			claim.Annotations[volume.AnnSelectedNode] = fmt.Sprintf("node-%d", g.IntN(5))
		}
		if g.chance(15) || i >= claimCount/2 && g.chance(50) { // a smaller one may take the only volume that would do
			claim.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"kind": "fast"}}
		}
		return
	}
	if claim.Spec.VolumeName == "" {
		g.Others = append(g.Others, g.boundVolume(claim))
	}
	if !g.chance(5) {
		claim.Annotations[volume.AnnBindCompleted] = "yes"
	}
}

func (g *generator) boundVolume(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "volume-of-" + claim.Name, Labels: map[string]string{}},
		Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			Capacity: claim.Spec.Resources.Requests, AccessModes: claim.Spec.AccessModes,
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	}
	claim.Spec.VolumeName = pv.Name
	if claim.Spec.StorageClassName != nil {
		pv.Spec.StorageClassName = *claim.Spec.StorageClassName
	}
	switch g.IntN(6) {
	case 0:
		pv.Spec.HostPath = &corev1.HostPathVolumeSource{Path: "/data"}
	case 1:
		pv.Spec.AzureDisk = &corev1.AzureDiskVolumeSource{DiskName: pv.Name, DataDiskURI: "/disks/" + pick(g, []string{"x", "y"})}
	case 2:
		pv.Spec.Cinder = &corev1.CinderPersistentVolumeSource{VolumeID: pick(g, []string{"x", "y"})}
	case 3:
		pv.Spec.VsphereVolume = &corev1.VsphereVirtualDiskVolumeSource{VolumePath: "[store] " + pick(g, []string{"x", "y"})}
	default:
		pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: pick(g, []string{ownDriver, diskDriver}), VolumeHandle: "/disks/" + pick(g, []string{"x", "y", "z"})}
	}
	for _, label := range some(g, 2, []string{corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone, corev1.LabelTopologyRegion}) {
		pv.Labels[label] = pick(g, []string{"1", "2", "1__2", "2__ 3", "__", "west"})
	}
	g.tie(pv)
	return pv
}

// useClaims gives the pod claims. It names none twice: two free volumes would be
// chosen for such a claim, and which of them counts later is left to chance.
func useClaims(g *generator, p *corev1.Pod) {
	for range g.IntN(4) {
		v := corev1.Volume{Name: fmt.Sprintf("v%d", len(p.Spec.Volumes))}
		if g.chance(10) {
			g.ephemeral(p, &v)
		} else {
			claims := all(&g.cluster, func(c *corev1.PersistentVolumeClaim) bool {
				named := slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
					return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == c.Name
				})
				return c.Labels == nil && !named && (len(p.Spec.Volumes) == 0 || c.Namespace == p.Namespace)
			})
			if len(claims) == 0 {
				continue
			}
			claim := pick(g, claims)
			if !g.chance(3) {
				p.Namespace = claim.Namespace // else there is no such claim
			}
			v.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name}
		}
		p.Spec.Volumes = append(p.Spec.Volumes, v)
	}
}

// ephemeral gives the pod a volume that is made for it alone, and mostly the
// claim that a controller makes of it.
func (g *generator) ephemeral(p *corev1.Pod, v *corev1.Volume) {
	v.Ephemeral = &corev1.EphemeralVolumeSource{}
	if g.chance(10) {
		return
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name + "-" + v.Name, Namespace: p.Namespace, UID: types.UID("uid-" + p.Name + v.Name), Annotations: map[string]string{},
			Labels:          map[string]string{"ephemeral": "true"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Pod", Name: p.Name, UID: p.UID, Controller: new(true)}},
		},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: new(pick(g, []string{"waits", "azure", "topology"})), Resources: corev1.VolumeResourceRequirements{Requests: size(20)}},
	}
	if g.chance(30) {
		claim.Status.Phase = corev1.ClaimBound
		claim.Annotations[volume.AnnBindCompleted] = "yes"
		g.Others = append(g.Others, g.boundVolume(claim))
	}
	if g.chance(8) && strings.HasPrefix(p.Name, "incoming") {
		claim.OwnerReferences = nil // no such pod would ever stand
	}
	g.Others = append(g.Others, claim)
}

// limitNode says how many volumes the node can attach, and which are attached.
func limitNode(g *generator, n *corev1.Node) {
	known := all(&g.cluster, func(c *storagev1.CSINode) bool { return c.Name == n.Name })
	if len(known) > 0 || g.chance(20) || isUnborn(n) && g.chance(50) {
		return
	}
	csi := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
	for _, name := range []string{ownDriver, diskDriver, sphereDriver} {
		if g.chance(25) {
			continue
		}
		driver := storagev1.CSINodeDriver{Name: name, NodeID: n.Name}
		if g.chance(75) {
			driver.Allocatable = &storagev1.VolumeNodeResources{Count: new(int32(g.IntN(4)))}
		}
		csi.Spec.Drivers = append(csi.Spec.Drivers, driver)
	}
	if zone, ok := n.Labels[corev1.LabelTopologyZone]; ok && g.chance(50) {
		n.Labels["topology.cinder.csi.openstack.org/zone"] = zone
	}
	if g.chance(50) {
		csi.Annotations = map[string]string{corev1.MigratedPluginsAnnotationKey: "kubernetes.io/azure-disk,kubernetes.io/cinder"}
	}
	g.Others = append(g.Others, csi)
	if volumes := all(&g.cluster, func(v *corev1.PersistentVolume) bool { return v.Spec.CSI != nil }); len(volumes) > 0 && g.chance(70) {
		pv := pick(g, volumes)
		g.Others = append(g.Others, &storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: "attached-to-" + n.Name},
			Spec:       storagev1.VolumeAttachmentSpec{NodeName: n.Name, Attacher: pv.Spec.CSI.Driver, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv.Name}},
		})
	}
}

// useDisks gives the pod volumes that it names itself.
func useDisks(g *generator, p *corev1.Pod) {
	for range g.IntN(3) {
		v := corev1.Volume{Name: fmt.Sprintf("v%d", len(p.Spec.Volumes))}
		name, readOnly := pick(g, []string{"x", "y"}), g.chance(50)
		switch g.IntN(5) {
		case 0:
			v.GCEPersistentDisk = &corev1.GCEPersistentDiskVolumeSource{PDName: name, ReadOnly: readOnly}
		case 1:
			v.AWSElasticBlockStore = &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: name, ReadOnly: readOnly}
		case 2:
			v.ISCSI = &corev1.ISCSIVolumeSource{IQN: name, ReadOnly: readOnly}
		case 3:
			v.RBD = &corev1.RBDVolumeSource{CephMonitors: append(some(g, 2, []string{"a", "b"}), pick(g, []string{"a", "c"})), RBDPool: "p", RBDImage: name, ReadOnly: readOnly}
		case 4:
			v.AzureDisk = &corev1.AzureDiskVolumeSource{DiskName: name, DataDiskURI: "/disks/" + name}
		}
		p.Spec.Volumes = append(p.Spec.Volumes, v)
	}
}
