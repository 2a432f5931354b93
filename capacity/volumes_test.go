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

// disks are claims, each bound to a disk of its name in the zone, or on the node, that
// the name begins with, or anywhere.
type disks struct{ fit.Objects }

func (disks) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	if name == "missing" {
		return nil
	}
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"}},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: name},
	}
}

func (disks) Volume(name string) *corev1.PersistentVolume {
	key, where := diskZone, strings.Split(name, "/")[0]
	if strings.HasPrefix(where, "node-") {
		key = corev1.LabelHostname
	}
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: diskDriver, VolumeHandle: name}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{where}}},
		}}}},
	}}
	if where == "anywhere" {
		pv.Spec.NodeAffinity = nil
	}
	return pv
}

func (disks) StorageClass(string) *storagev1.StorageClass { return nil }

// Driver keeps pods off nodes where it has not registered.
func (disks) Driver(string) *storagev1.CSIDriver {
	return &storagev1.CSIDriver{Spec: storagev1.CSIDriverSpec{PreventPodSchedulingIfMissing: new(true)}}
}

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
	drivers := func(csi *fit.CSI) func(*PoolState) { return func(p *PoolState) { p.Shape.CSI = csi } }
	scenarios{
		"a machine is bought where the disk is": {
			in:   snapshot(pools(poolOf("agents", 0, attaching(8, "w-1"))), nil, pod("p", 1, withDisk("w-1/data"))),
			want: []string{"grow agents from 0 to 1", "p waits: MachinesComing"},
		},
		"none is bought without the driver": {
			in:   snapshot(pools(poolOf("agents", 0, drivers(&fit.CSI{}))), nil, pod("p", 1, withDisk("anywhere/data"))),
			want: []string{"p waits: NoPoolFits"},
		},
		"one is bought where no driver is known yet": {
			in:   snapshot(pools(poolOf("agents", 0, drivers(&fit.CSI{Unknown: true}))), nil, pod("p", 1, withDisk("anywhere/data"))),
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
		"another driver of the pool's first node may yet come": {
			in: snapshot(pools(poolOf("agents", 1, drivers(&fit.CSI{Unknown: true, Limits: map[string]int{"file.csi.azure.com": fit.Unlimited}}), running("a"))),
				nodes(joined(time.Minute, func(n *Node) { n.CSI = &fit.CSI{Limits: map[string]int{"file.csi.azure.com": fit.Unlimited}} })),
				pod("p", 1, withDisk("anywhere/data"))),
			want: []string{"p waits: MachinesComing"},
		},
		"it has registered": {
			in: snapshot(pools(poolOf("agents", 1, attaching(8, "w-1"), running("a"))), nodes(joined(time.Minute, hasDriver)),
				pod("p", 1, withDisk("w-1/data"))),
			want: []string{"release p to a"},
		},
		"which drivers will register on it is not known yet": {
			in: snapshot(pools(poolOf("agents", 1, drivers(&fit.CSI{Unknown: true}), running("a"))), nodes(joined(time.Minute)),
				pod("p", 1, withDisk("anywhere/data")), pod("q", 1)),
			want: []string{"release q to a", "p waits: MachinesComing"},
		},
		"it will not register any more": {
			in: snapshot(pools(poolOf("agents", 1, attaching(8, "w-1"), running("a"))), nodes(joined(JoinTimeout)),
				pod("p", 1, withDisk("w-1/data"))),
			want: []string{"grow agents from 1 to 2", "mark a", "p waits: MachinesComing"},
		},
	}.run(t)
}

func TestReasonsOfVolumes(t *testing.T) {
	full := snapshot(pools(poolOf("agents", 1, attaching(8, "w-1"), running("node-a"))),
		nodes(node("node-a", func(n *Node) { registered(8, "w-1")(&n.Labels, &n.CSI) })), pod("busy", 8, on("node-a")))
	for name, tc := range map[string]struct{ claim, want string }{
		"its claim is missing":     {"missing", "no node takes it: a volume claim does not exist"},
		"its node is full":         {"node-a/data", "waiting for room on node node-a, on whose disk the data of its volume are"},
		"its node is gone":         {"node-b/data", "the data of its volume are on the disk of node node-b, which is not there"},
		"its zone is no machine's": {"w-2/data", "agents does not match: a volume cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			in := full
			in.SetPods(append(pointers([]Pod{pod("p", 1, withDisk(tc.claim))}), full.Nodes[0].Load.Pods...))
			reasons := Plan(in).Reasons
			if len(reasons) != 1 || reasons[0].Code != ReasonNoFit || reasons[0].Text != tc.want {
				t.Errorf("reasons %+v, want %q", reasons, tc.want)
			}
		})
	}
}
