package fit

import (
	"crypto/sha256"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	operators "k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"
)

// Why no node takes a pod because of its volumes.
const (
	whyNoClaim    = "a volume claim does not exist"
	whyLost       = "a volume claim has lost its volume"
	whyDeleted    = "a volume claim is being deleted"
	whyOtherOwner = "a volume claim belongs to another pod"
	whyNotBound   = "a volume claim is not bound yet"
	whyNoVolume   = "a volume does not exist"
)

// volumeCompiler compiles the volumes of one pod.
type volumeCompiler struct {
	objects Objects
	class   *Class
	pod     *corev1.Pod
	// stands is true for a pod that has been scheduled: nothing keeps it off.
	stands bool
	out    volumes
	key    key
	lists  *lists
}

// compileVolumes compiles the pod's volumes into the class.
func (c *Compiler) compileVolumes(class *Class, pod *corev1.Pod, stands bool) {
	if c.Objects == nil || len(pod.Spec.Volumes) == 0 {
		return
	}
	vc := volumeCompiler{objects: c.Objects, class: class, pod: pod, stands: stands, lists: &c.lists}
	for i := range pod.Spec.Volumes {
		vc.volume(&pod.Spec.Volumes[i])
	}
	// The scheduler binds the smallest claims first.
	slices.SortStableFunc(vc.out.unbound, func(a, b *unboundClaim) int { return storageOf(a.claim).Cmp(*storageOf(b.claim)) })
	if len(vc.key.bytes) > 0 {
		vc.out.id = string(vc.key.bytes)
		class.volumes = &vc.out
	}
}

func (vc *volumeCompiler) volume(vol *corev1.Volume) {
	if d, ok := diskOf(vol); ok {
		vc.out.disks = append(vc.out.disks, d)
		vc.key.text("disk")
		vc.key.text(d.kind)
		vc.key.text(d.name)
		vc.key.text(lines(d.monitors))
		vc.key.flag(d.readOnly)
	}
	switch {
	case vol.PersistentVolumeClaim != nil:
		vc.claim(vc.objects.Claim(vc.pod.Namespace, vol.PersistentVolumeClaim.ClaimName), false)
	case vol.Ephemeral != nil:
		vc.claim(vc.objects.Claim(vc.pod.Namespace, ephemeral.VolumeClaimName(vc.pod, vol)), true)
	default:
		vc.attach(inlineAttachment(vol, vc.pod.Namespace), false)
	}
}

// claim compiles a claim, which is owned if it was made for this pod alone.
func (vc *volumeCompiler) claim(claim *corev1.PersistentVolumeClaim, owned bool) {
	vc.class.Looked = true
	switch {
	case claim == nil:
		vc.block(whyNoClaim)
		return
	case owned && ephemeral.VolumeIsForPod(vc.pod, claim) != nil:
		vc.block(whyOtherOwner)
		return
	case claim.Status.Phase == corev1.ClaimLost:
		vc.block(whyLost)
	case claim.DeletionTimestamp != nil:
		vc.block(whyDeleted)
	}
	if !owned && slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
		id := claimID(claim)
		vc.out.exclusive = append(vc.out.exclusive, id)
		vc.key.text("exclusive")
		vc.key.text(id)
	}
	class := vc.objects.StorageClass(volume.GetPersistentVolumeClaimClass(claim))
	var pv *corev1.PersistentVolume
	if claim.Spec.VolumeName != "" {
		pv = vc.objects.Volume(claim.Spec.VolumeName)
	}
	vc.attach(claimAttachment(claim, pv, class), owned)
	if vc.stands {
		return
	}
	delayed := class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	switch {
	case claim.Spec.VolumeName == "" && delayed:
		vc.unbound(claim, class, owned)
	case claim.Spec.VolumeName == "" || !metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted):
		vc.block(whyNotBound)
	case pv == nil:
		vc.block(whyNoVolume)
	default:
		vc.bound(pv)
		if !owned {
			vc.zones(pv)
		}
	}
}

func (vc *volumeCompiler) block(why string) {
	if vc.class.blocked == "" && !vc.stands {
		vc.class.blocked = why
	}
}

// attach adds a volume that counts against the node's limit. One that is to be
// made for this pod alone is like any other such, so it needs no name.
func (vc *volumeCompiler) attach(a *attachment, owned bool) {
	if a == nil {
		return
	}
	if owned && a.unmade {
		a.id = ""
	}
	if driver := vc.objects.Driver(a.driver); !vc.stands && driver != nil {
		a.needed = driver.Spec.PreventPodSchedulingIfMissing != nil && *driver.Spec.PreventPodSchedulingIfMissing
	}
	vc.out.attached = append(vc.out.attached, *a)
	vc.key.text("attached")
	vc.key.text(a.id)
	vc.key.text(a.driver)
	vc.key.flag(a.moved)
	vc.key.flag(a.needed)
}

// bound compiles where a volume can be reached from.
func (vc *volumeCompiler) bound(pv *corev1.PersistentVolume) {
	b := boundVolume{reach: reachOf(pv)}
	vc.out.hosts = append(vc.out.hosts, hostsOf(pv)...)
	vc.key.text("bound")
	vc.key.object(pv.Spec.NodeAffinity)
	if plugin := movablePlugin(pv, nil); plugin != "" {
		moved, err := translator.TranslateInTreePVToCSI(quiet, pv)
		if err != nil {
			moved = &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{}}}}
		}
		b.plugin, b.moved = plugin, reachOf(moved)
		vc.key.text(plugin)
		vc.key.object(moved.Spec.NodeAffinity)
	}
	if b.reach != nil || b.moved != nil {
		vc.out.bound = append(vc.out.bound, b)
	}
}

// hostsOf are the host names of the nodes on whose disks the volume is, none if it is
// elsewhere: provisioners of local volumes, such as k3s' local-path, tie theirs to the
// node by its host name.
func hostsOf(pv *corev1.PersistentVolume) []string {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return nil
	}
	var hosts []string
	for _, term := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Key == corev1.LabelHostname && e.Operator == corev1.NodeSelectorOpIn {
				hosts = append(hosts, e.Values...)
			}
		}
	}
	return hosts
}

// Free reports whether any claim may be bound to the volume.
func Free(pv *corev1.PersistentVolume) bool {
	return pv.Spec.ClaimRef == nil && pv.Status.Phase == corev1.VolumeAvailable
}

func reachOf(pv *corev1.PersistentVolume) *nodeaffinity.LazyErrorNodeSelector {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return nil
	}
	return nodeaffinity.NewLazyErrorNodeSelector(pv.Spec.NodeAffinity.Required)
}

// zones compiles the labels by which a volume says in which zones it is. A
// label that cannot be parsed says nothing.
func (vc *volumeCompiler) zones(pv *corev1.PersistentVolume) {
	for _, name := range zoneLabels {
		value, ok := pv.Labels[name]
		if !ok {
			continue
		}
		values := strings.Split(value, zonesSeparator)
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
		if slices.Contains(values, "") {
			continue
		}
		vc.out.zones = append(vc.out.zones, zone{name, sets.New(values...)})
		vc.key.text("zone")
		vc.key.text(name)
		vc.key.text(value)
	}
}

// zonesSeparator is between the zones of a volume that is in several. Source:
// k8s.io/cloud-provider, LabelMultiZoneDelimiter.
const zonesSeparator = "__"

// unbound compiles a claim that is bound once the pod is scheduled. One for which a
// volume will be made, and for this pod alone, is like any other such: the pods of a Job
// with volumes of their own are one class.
func (vc *volumeCompiler) unbound(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, owned bool) {
	u := &unboundClaim{
		id:         claimID(claim),
		claim:      claim,
		chosen:     claim.Annotations[volume.AnnSelectedNode],
		candidates: vc.objects.VolumesFor(claim, class.Name),
	}
	if owned && u.chosen == "" && len(u.candidates) == 0 {
		u.id = ""
	}
	u.provision = vc.provision(claim, class)
	vc.out.unbound = append(vc.out.unbound, u)
	vc.key.text("unbound")
	vc.key.text(u.id)
	vc.key.text(u.chosen)
	vc.key.text(storageOf(claim).String())
	vc.key.object(class)
	vc.key.flag(u.provision.limited)
	if len(u.candidates) > 0 {
		vc.key.object(claim)
		vc.key.text(digest(vc.lists, u.candidates))
	}
}

// provision compiles where the class's provisioner can make a volume.
func (vc *volumeCompiler) provision(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) provision {
	p := provision{never: class.Provisioner == "" || class.Provisioner == volume.NotSupportedProvisioner}
	for _, term := range class.AllowedTopologies {
		if s, ok := topologySelector(term); ok {
			p.topologies = append(p.topologies, s)
		}
	}
	p.restricted = len(class.AllowedTopologies) > 0
	driver := vc.objects.Driver(class.Provisioner)
	if driver == nil || driver.Spec.StorageCapacity == nil || !*driver.Spec.StorageCapacity {
		return p
	}
	if _, asks := claim.Spec.Resources.Requests[corev1.ResourceStorage]; !asks {
		return p
	}
	p.limited = true
	capacities := vc.objects.CapacitiesOf(class.Name)
	if len(capacities) > 0 {
		vc.key.text(digest(vc.lists, capacities))
	}
	for _, capacity := range capacities {
		limit := capacity.Capacity
		if capacity.MaximumVolumeSize != nil {
			limit = capacity.MaximumVolumeSize
		}
		if limit == nil || limit.Value() < storageOf(claim).Value() {
			continue
		}
		// Capacity without a topology is nowhere.
		if s, err := metav1.LabelSelectorAsSelector(capacity.NodeTopology); err == nil {
			p.room = append(p.room, s)
		}
	}
	return p
}

// topologySelector compiles a term of a class's allowed topologies; ok is false
// for one that selects nothing.
func topologySelector(term corev1.TopologySelectorTerm) (s labels.Selector, ok bool) {
	if len(term.MatchLabelExpressions) == 0 {
		return nil, false
	}
	s = labels.NewSelector()
	for _, e := range term.MatchLabelExpressions {
		r, err := labels.NewRequirement(e.Key, operators.In, e.Values)
		if err != nil {
			return nil, false
		}
		s = s.Add(*r)
	}
	return s, true
}

// lists are the digests of lists that claims have in common, of volumes and of storage
// capacities: a class with all of that in its key would be as large as they are, for every
// claim that waits.
type lists map[list]string

// list is a list that does not change, by where its first item is.
type list struct {
	first any
	n     int
}

// listsRemembered bounds the memory for lists that are no more.
const listsRemembered = 100

// digest tells the list, which is not empty, from others.
func digest[T any](l *lists, items []T) string {
	id := list{&items[0], len(items)}
	known, ok := (*l)[id]
	if !ok {
		if *l == nil || len(*l) >= listsRemembered {
			*l = lists{}
		}
		var k key
		k.object(items)
		sum := sha256.Sum256(k.bytes)
		known = string(sum[:])
		(*l)[id] = known
	}
	return known
}
