package fit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// volumes is what a pod's volumes ask of a node and of the other pods. It
// follows kube-scheduler's plugins VolumeBinding, VolumeZone,
// VolumeRestrictions and NodeVolumeLimits.
type volumes struct {
	// id tells the volumes of one class from those of another.
	id string
	// bound are the volumes that exist, unbound the claims that wait for the
	// pod to be scheduled.
	bound   []boundVolume
	unbound []*unboundClaim
	// zones are the labels that a node needs if it has any label of a zone.
	zones []zone
	// exclusive are the claims that only one pod in the cluster may use.
	exclusive []string
	// attached are the volumes that a driver has to attach to the node.
	attached []attachment
	// disks are volumes that pods of one node cannot share.
	disks []disk
	// hosts are the host names of the nodes on whose disks bound volumes are.
	hosts []string
}

// boundVolume is where a volume can be reached from.
type boundVolume struct {
	reach *nodeaffinity.LazyErrorNodeSelector
	// Where the node says that the volume's plugin has moved to a driver, the
	// driver's terms count.
	plugin string
	moved  *nodeaffinity.LazyErrorNodeSelector
}

// zone is a label of a volume that the node's must be one of.
type zone struct {
	key    string
	values sets.Set[string]
}

func (v *volumes) related() bool {
	return v != nil && len(v.exclusive) > 0
}

// waits reports whether claims are bound once the pod is scheduled.
func (v *volumes) waits() bool { return v != nil && len(v.unbound) > 0 }

// binds reports whether that makes a difference to other pods.
func (v *volumes) binds() bool {
	return v != nil && slices.ContainsFunc(v.unbound, func(u *unboundClaim) bool { return u.id != "" })
}

func (v *volumes) crowds() bool { return v != nil && (len(v.attached) > 0 || len(v.disks) > 0) }

func (v *volumes) key(k *key) {
	if v == nil {
		k.text("")
	} else {
		k.text(v.id)
	}
}

func (v *volumes) exclusiveClaims() []string {
	if v == nil {
		return nil
	}
	return v.exclusive
}

// Why volumes keep a pod off a node.
const (
	whyReach      = "a volume cannot be reached"
	whyZone       = "a volume is in another zone"
	whyDriver     = "a volume's driver is missing"
	whyLimit      = "too many volumes"
	whyProvision  = "a volume cannot be provisioned"
	whyOtherPlace = "a volume will be on another node"
)

// admits says why the volumes keep the pod off the node, whatever else is there.
func (v *volumes) admits(s *Shape, node *corev1.Node) string {
	if v == nil {
		return ""
	}
	node.Name = "" // a volume's fields are matched against no name
	for i := range v.bound {
		reach := v.bound[i].reach
		if s.CSI.moved(v.bound[i].plugin) {
			reach = v.bound[i].moved
		}
		if reach != nil {
			if ok, err := reach.Match(node); err != nil || !ok {
				return whyReach
			}
		}
	}
	if !v.inZone(node.Labels) {
		return whyZone
	}
	for i := range v.attached {
		if a := &v.attached[i]; a.needed && a.counts(s.CSI) && !s.CSI.has(a.driver) {
			return whyDriver
		}
	}
	return ""
}

// zoneLabels are the labels by which volumes and nodes say where they are.
var zoneLabels = []string{
	corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
}

// stable are today's names of the older labels.
var stable = map[string]string{
	corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
	corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
}

// inZone judges the volumes' own labels. A node without any is everywhere.
func (v *volumes) inZone(labels map[string]string) bool {
	if !slices.ContainsFunc(zoneLabels, func(key string) bool { _, ok := labels[key]; return ok }) {
		return true
	}
	for _, z := range v.zones {
		value, ok := labels[z.key]
		if !ok {
			value, ok = labels[stable[z.key]]
		}
		if !ok || !z.values.Has(value) {
			return false
		}
	}
	return true
}

// attachable says why the node cannot attach the pod's volumes beside those
// that are there.
func (w *World) attachable(p *Place, c *Class) string {
	csi := p.shape.CSI
	if c.volumes == nil || len(c.volumes.attached) == 0 || csi == nil {
		return ""
	}
	if p.attached == nil {
		p.attached = attachedTo(p)
	}
	for i := range c.volumes.attached {
		driver := c.volumes.attached[i].driver
		limit, limited := csi.Limits[driver]
		if !limited || limit == Unlimited {
			continue
		}
		if n := p.attached.fresh(c.volumes, driver); n > 0 && p.attached.byDriver[driver]+n > limit {
			return whyLimit
		}
	}
	return ""
}

// attached are the volumes of a place, each counted once however many pods share it.
type attached struct {
	csi *CSI
	// pods are how many use each volume.
	pods     map[string]int
	byDriver map[string]int
}

// attachedTo are the volumes of the pods that stand on the place or are planned there,
// and what its drivers say to be attached.
func attachedTo(p *Place) *attached {
	all := &attached{csi: p.shape.CSI, pods: map[string]int{}, byDriver: map[string]int{}}
	for _, driver := range all.csi.Attached {
		all.byDriver[driver]++
	}
	for _, there := range [][]Count{p.standing, p.crowding} {
		for i := range there {
			all.add(there[i].Class.volumes, there[i].N)
		}
	}
	return all
}

// add counts the volumes of n more pods.
func (all *attached) add(v *volumes, n int) {
	if all == nil || v == nil {
		return
	}
	for i := range v.attached {
		id, driver := v.attached[i].id, v.attached[i].driver
		if id == "" {
			all.byDriver[driver] += n
			continue
		}
		before := all.pods[id]
		all.pods[id] = before + n
		if _, counted := all.csi.Attached[id]; counted {
			continue
		}
		switch {
		case before == 0:
			all.byDriver[driver]++
		case before+n == 0:
			all.byDriver[driver]--
		}
	}
}

// fresh is how many volumes the driver would have to attach for one more pod.
func (all *attached) fresh(v *volumes, driver string) int {
	n := 0
	for i := range v.attached {
		a := &v.attached[i]
		again := a.id != "" && slices.ContainsFunc(v.attached[:i], func(b attachment) bool { return b.id == a.id })
		if a.driver == driver && !again && (a.id == "" || all.pods[a.id] == 0) {
			n++
		}
	}
	return n
}

// disk is a volume that is named in the pod itself and that pods of one node
// can share only to read, if at all.
type disk struct {
	kind, name string
	monitors   []string
	readOnly   bool
}

// conflict reports whether pods on one node cannot both have their disks.
func (v *volumes) conflict(other *volumes) bool {
	if v == nil || other == nil {
		return false
	}
	return slices.ContainsFunc(v.disks, func(a disk) bool {
		return slices.ContainsFunc(other.disks, func(b disk) bool {
			return a.kind == b.kind && a.name == b.name && !(a.readOnly && b.readOnly) &&
				(a.monitors == nil || slices.ContainsFunc(a.monitors, func(m string) bool { return slices.Contains(b.monitors, m) }))
		})
	})
}

func diskOf(v *corev1.Volume) (disk, bool) {
	switch {
	case v.GCEPersistentDisk != nil:
		return disk{kind: "gce", name: v.GCEPersistentDisk.PDName, readOnly: v.GCEPersistentDisk.ReadOnly}, true
	case v.AWSElasticBlockStore != nil:
		return disk{kind: "aws", name: v.AWSElasticBlockStore.VolumeID}, true
	case v.ISCSI != nil:
		return disk{kind: "iscsi", name: v.ISCSI.IQN, readOnly: v.ISCSI.ReadOnly}, true
	case v.RBD != nil:
		return disk{kind: "rbd", name: v.RBD.RBDPool + "/" + v.RBD.RBDImage, monitors: v.RBD.CephMonitors, readOnly: v.RBD.ReadOnly}, true
	}
	return disk{}, false
}
