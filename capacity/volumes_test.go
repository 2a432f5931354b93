package capacity

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

const (
	diskDriver = "disk.csi.azure.com"
	diskZone   = "topology.disk.csi.azure.com/zone"
)

// disks are claims, each bound to a disk of its name in the zone that the name begins
// with.
type disks struct{ fit.Objects }

func (disks) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"}},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: name},
	}
}

func (disks) Volume(name string) *corev1.PersistentVolume {
	zone, _, _ := strings.Cut(name, "/")
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: diskDriver, VolumeHandle: name}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: diskZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}},
		}}}},
	}}
}

func (disks) StorageClass(string) *storagev1.StorageClass { return nil }
func (disks) Driver(string) *storagev1.CSIDriver          { return nil }

// withDisk gives the pod a claim of that name.
func withDisk(name string) func(*Pod) {
	c := fit.NewCompiler()
	c.Objects = disks{}
	requests := cpus(1).List()
	delete(requests, corev1.ResourcePods)
	return class(c.Class(&corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: requests}}},
		Volumes:    []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}},
	}}, ""))
}

// attaching is a pool whose machines are known to attach so many disks.
func attaching(limit int, zones ...string) func(*PoolState) {
	return func(p *PoolState) {
		registered(limit, zones[0])(&p.Shape.Labels, &p.Shape.CSI)
		p.Zones = zones
	}
}

// registered is what the driver of disks does to a node.
func registered(limit int, zone string) func(*map[string]string, **fit.CSI) {
	return func(labels *map[string]string, csi **fit.CSI) {
		(*labels)[corev1.LabelTopologyZone], (*labels)[diskZone] = zone, zone
		*csi = &fit.CSI{Limits: map[string]int{diskDriver: limit}, Topology: sets.New(diskZone)}
	}
}

func TestVolumes(t *testing.T) {
	joined := func(ago time.Duration, changes ...func(*Node)) Node {
		return node("a", append([]func(*Node){func(n *Node) {
			n.Created, n.Labels[corev1.LabelTopologyZone] = now.Add(-ago), "w-1"
		}}, changes...)...)
	}
	hasDriver := func(n *Node) { registered(8, "w-1")(&n.Labels, &n.CSI) }
	scenarios{
		"a machine is bought where the disk is": {
			in:   snapshot(pools(poolOf("agents", 0, attaching(8, "w-1"))), nil, pod("p", 1, withDisk("w-1/data"))),
			want: []string{"grow agents from 0 to 1", "p waits: MachinesComing"},
		},
		"none is bought elsewhere": {
			in:   snapshot(pools(poolOf("agents", 0, attaching(8, "w-1"))), nil, pod("p", 1, withDisk("w-2/data"))),
			want: []string{"p waits: NoPoolFits"},
		},
		"the pool's next machine is in its other zone": {
			in: snapshot(pools(poolOf("agents", 1, attaching(8, "w-1", "w-2"), running("a"))), nodes(joined(time.Hour, hasDriver)),
				pod("p", 1, withDisk("w-2/data"))),
			want: []string{"grow agents from 1 to 2", "mark a", "p waits: MachinesComing"},
		},
		"a machine attaches no more disks than it can": {
			in: snapshot(pools(poolOf("agents", 0, attaching(2, "w-1"))), nil,
				pod("p", 1, withDisk("w-1/a")), pod("q", 1, withDisk("w-1/b")), pod("r", 1, withDisk("w-1/c"))),
			want: []string{"grow agents from 0 to 2", "p waits: MachinesComing", "q waits: MachinesComing", "r waits: MachinesComing"},
		},
		"a node whose driver is yet to register will do, but not now": {
			in: snapshot(pools(poolOf("agents", 1, attaching(8, "w-1"), running("a"))), nodes(joined(time.Minute)),
				pod("p", 1, withDisk("w-1/data")), pod("q", 1)),
			want: []string{"release q to a", "p waits: MachinesComing"},
		},
		"it has registered": {
			in: snapshot(pools(poolOf("agents", 1, attaching(8, "w-1"), running("a"))), nodes(joined(time.Minute, hasDriver)),
				pod("p", 1, withDisk("w-1/data"))),
			want: []string{"release p to a"},
		},
		"it will not register any more": {
			in: snapshot(pools(poolOf("agents", 1, attaching(8, "w-1"), running("a"))), nodes(joined(JoinTimeout)),
				pod("p", 1, withDisk("w-1/data"))),
			want: []string{"grow agents from 1 to 2", "mark a", "p waits: MachinesComing"},
		},
	}.run(t)
}
