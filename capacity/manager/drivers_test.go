package manager

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

const (
	diskDriver = "disk.csi.azure.com"
	diskZone   = "topology.disk.csi.azure.com/zone"
)

// csiNode is what a driver that has registered on the node says.
func csiNode(node string, drivers ...storagev1.CSINodeDriver) *storagev1.CSINode {
	return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: storagev1.CSINodeSpec{Drivers: drivers}}
}

func disksOf(limit int32, keys ...string) storagev1.CSINodeDriver {
	return storagev1.CSINodeDriver{Name: diskDriver, TopologyKeys: keys, Allocatable: &storagev1.VolumeNodeResources{Count: &limit}}
}

// A machine that is yet to be bought will have the volume drivers that the pool's
// nodes have. These register later than their nodes are adopted, and new ones come.
func TestPoolsLearnVolumeDrivers(t *testing.T) {
	zoned := func(zone string) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Labels = map[string]string{corev1.LabelTopologyZone: "w-1"}
			if zone != "" {
				n.Labels[diskZone] = zone
			}
		}
	}
	known := func(limit int) *fit.CSI {
		return &fit.CSI{Limits: map[string]int{diskDriver: limit}, Topology: sets.New(diskZone)}
	}
	unknown := &fit.CSI{Unknown: true}
	more := func(limit int) *fit.CSI { // others may yet register
		csi := known(limit)
		csi.Unknown = true
		return csi
	}
	volumes := &api.VolumeDrivers{Limits: map[string]int{diskDriver: 4}, Topology: []string{diskZone}}
	for name, tc := range map[string]struct {
		earlier *api.VolumeDrivers // as the leader before has published it, with zone w-2
		node    func(*corev1.Node)
		csi     *storagev1.CSINode
		age     time.Duration
		want    *fit.CSI
		zone    string
	}{
		"none has registered yet":              {node: zoned(""), csi: csiNode("agents000001"), want: unknown},
		"one has registered":                   {node: zoned("w-1"), csi: csiNode("agents000001", disksOf(8, diskZone)), want: more(8), zone: "w-1"},
		"it is the only one":                   {node: zoned("w-1"), csi: csiNode("agents000001", disksOf(8, diskZone)), age: capacity.JoinTimeout, want: known(8), zone: "w-1"},
		"its label is yet to be seen":          {node: zoned(""), csi: csiNode("agents000001", disksOf(8, diskZone)), want: unknown},
		"it says no limit":                     {node: zoned("w-1"), csi: csiNode("agents000001", storagev1.CSINodeDriver{Name: diskDriver, TopologyKeys: []string{diskZone}}), want: more(fit.Unlimited), zone: "w-1"},
		"the next leader knows it":             {earlier: volumes, node: zoned(""), csi: csiNode("agents000001"), want: known(4), zone: "w-1"},
		"it says something else now":           {earlier: volumes, node: zoned("w-1"), csi: csiNode("agents000001", disksOf(8, diskZone)), want: known(8), zone: "w-1"},
		"it has not registered for so long":    {earlier: volumes, node: zoned(""), csi: csiNode("agents000001"), age: capacity.JoinTimeout, want: &fit.CSI{}},
		"of disks in the machine: not its own": {node: zoned("agents000001"), csi: csiNode("agents000001", disksOf(8, diskZone)), want: more(8)},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{pool: tagged(), instances: []capacity.Instance{{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}}}
			w, _ := observed(t, cloud, joined(func(n *corev1.Node) {
				n.CreationTimestamp = metav1.NewTime(time.Now().Add(-tc.age))
				tc.node(n)
			}), tc.csi)
			if tc.earlier != nil {
				w.pools.restore(api.Status{Pools: []api.PoolStatus{{Name: "agents", Node: &api.NodeShape{
					Labels: map[string]string{corev1.LabelTopologyZone: "w-2", diskZone: "w-2"}, Volumes: tc.earlier,
				}}}})
				w.pools.refresh(t.Context())
			}
			if _, err := w.observe(t.Context()); err != nil {
				t.Fatal(err)
			}
			shape := agents(t, w.pools).Shape
			if !shape.CSI.Equal(tc.want) || shape.Labels[diskZone] != tc.zone {
				t.Errorf("the next machine's drivers %+v in zone %q, want %+v in %q", shape.CSI, shape.Labels[diskZone], tc.want, tc.zone)
			}
			if diff := cmp.Diff(shape, restoredShape(publishedShape(shape)), cmp.Comparer((*fit.CSI).Equal)); diff != "" {
				t.Errorf("what the next leader will know (-now +then):\n%s", diff)
			}
			before := shape
			if _, err := w.observe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if agents(t, w.pools).Shape != before {
				t.Error("the pool has learned anew although nothing is new")
			}
		})
	}
}

// The adoption of a node does not have the pool forget its drivers.
func TestAdoptionKeepsVolumeDrivers(t *testing.T) {
	machine := capacity.Instance{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}
	w, _ := observed(t, &scriptedCloud{instances: []capacity.Instance{machine}}, joined(nil))
	want := &fit.CSI{Limits: map[string]int{diskDriver: 4}, Topology: sets.New(diskZone)}
	w.pools.restore(api.Status{Pools: []api.PoolStatus{{Name: "agents", Node: publishedShape(&fit.Shape{Labels: map[string]string{diskZone: ""}, CSI: want})}}})
	w.pools.refresh(t.Context())
	step := capacity.Step{Node: "agents000001", UID: "uid-node", Kind: capacity.StepAdopt, Pool: "agents", Instance: machine}
	if err := w.perform(t.Context(), w.node(t), step); err != nil {
		t.Fatal(err)
	}
	shape := agents(t, w.pools).Shape
	if _, labelled := shape.Labels[diskZone]; !labelled || !shape.CSI.Equal(want) || shape.Allocatable.MilliCPU != 7800 {
		t.Errorf("shape %+v, want the node's with the pool's drivers", shape)
	}
}

// What decides where a pod fits is looked at again when it changes.
func TestVolumesDecideWherePodsFit(t *testing.T) {
	const claimName = "data"
	claim := func(volume string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "work", Name: claimName}}
		if volume != "" {
			c.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
			c.Spec.VolumeName = volume
		}
		return c
	}
	node := func(name string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	}
	disk := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}, Spec: corev1.PersistentVolumeSpec{
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: diskDriver, VolumeHandle: "disk-1"}},
	}}
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "disks"}, Provisioner: diskDriver}
	driver := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: diskDriver}, Spec: storagev1.CSIDriverSpec{PreventPodSchedulingIfMissing: new(true)}}
	// Volumes of this class are made by hand.
	spare := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "spare"}, Provisioner: "kubernetes.io/no-provisioner",
		VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}
	lateClaim := claim("")
	lateClaim.Spec.StorageClassName = &spare.Name
	// Those of this one are made where the driver has room, once it says where.
	made := spare.DeepCopy()
	made.Name, made.Provisioner = "made", diskDriver
	lateDisk := claim("")
	lateDisk.Spec.StorageClassName = &made.Name
	lateDisk.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	counting := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: diskDriver}, Spec: storagev1.CSIDriverSpec{StorageCapacity: new(true)}}
	roomOn := func(node string) *storagev1.CSIStorageCapacity {
		return &storagev1.CSIStorageCapacity{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "room"}, StorageClassName: made.Name, Capacity: new(resource.MustParse("8Gi")),
			NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelHostname: node}},
		}
	}
	free := func(claim *corev1.ObjectReference) *corev1.PersistentVolume {
		return localVolume("n2", func(pv *corev1.PersistentVolume) {
			pv.Spec.StorageClassName, pv.Spec.ClaimRef, pv.Status.Phase = spare.Name, claim, corev1.VolumeAvailable
		})
	}
	for name, tc := range map[string]struct {
		objects []client.Object
		gone    []client.Object
		want    []string // the nodes that the pod fits on
	}{
		"its claim is not there":           {},
		"it is not bound":                  {objects: []client.Object{claim(""), class}},
		"its volume is not there":          {objects: []client.Object{claim("pvc-1")}},
		"its volume is on one node":        {objects: []client.Object{claim("pvc-1"), localVolume("n2", nil)}, want: []string{"n2"}},
		"its volume is anywhere":           {objects: []client.Object{claim("pvc-1"), disk}, want: []string{"n1", "n2"}},
		"its claim is gone again":          {objects: []client.Object{claim("pvc-1"), disk}, gone: []client.Object{claim("pvc-1")}},
		"a driver is missing everywhere":   {objects: []client.Object{claim("pvc-1"), disk, driver}},
		"one node has it":                  {objects: []client.Object{claim("pvc-1"), disk, driver, csiNode("n1", disksOf(1))}, want: []string{"n1"}},
		"that node has lost it":            {objects: []client.Object{claim("pvc-1"), disk, driver, csiNode("n1", disksOf(1))}, gone: []client.Object{csiNode("n1")}},
		"it attaches no more":              {objects: []client.Object{claim("pvc-1"), disk, driver, csiNode("n1", disksOf(0)), csiNode("n2", disksOf(1))}, want: []string{"n2"}},
		"its volume can be made anywhere":  {objects: []client.Object{made, lateDisk}, want: []string{"n1", "n2"}},
		"its driver has no room":           {objects: []client.Object{made, lateDisk, counting}},
		"its driver has room on a node":    {objects: []client.Object{made, lateDisk, counting, roomOn("n1")}, want: []string{"n1"}},
		"that room is on another node now": {objects: []client.Object{made, lateDisk, counting, roomOn("n1"), roomOn("n2")}, want: []string{"n2"}},
		"that room is gone":                {objects: []client.Object{made, lateDisk, counting, roomOn("n1")}, gone: []client.Object{roomOn("n1")}},
		"it waits for a volume":            {objects: []client.Object{spare, lateClaim}},
		"there is one":                     {objects: []client.Object{spare, lateClaim, free(nil)}, want: []string{"n2"}},
		"that one is gone":                 {objects: []client.Object{spare, lateClaim, free(nil)}, gone: []client.Object{free(nil)}},
		"another claim has it":             {objects: []client.Object{spare, lateClaim, free(nil), free(&corev1.ObjectReference{Namespace: "work", Name: "other"})}},
		"it was kept for another claim":    {objects: []client.Object{spare, lateClaim, free(&corev1.ObjectReference{Namespace: "work", Name: "other"}), free(nil)}, want: []string{"n2"}},
		"one is kept for it":               {objects: []client.Object{spare, lateClaim, free(&corev1.ObjectReference{Namespace: "work", Name: claimName})}, want: []string{"n2"}},
		"its room is taken by another one": {objects: []client.Object{claim("pvc-1"), driver, csiNode("n1", disksOf(1)), attachment("n1", "pvc-2"), disk, other(disk)}},
		"that one is detached": {
			objects: []client.Object{claim("pvc-1"), driver, csiNode("n1", disksOf(1)), attachment("n1", "pvc-2"), disk, other(disk)},
			gone:    []client.Object{attachment("n1", "pvc-2")}, want: []string{"n1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(time.Now)
			pod := gatedPod(func(p *corev1.Pod) {
				p.Namespace = "work"
				p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName}}}}
			})
			for _, o := range []client.Object{node("n1"), node("n2"), &pod} {
				s.set(o)
			}
			// After each object the cluster is looked at: nothing of that may stay.
			fits := func() []string {
				var snapshot capacity.Snapshot
				s.fill(&snapshot, nobody)
				world := fit.NewWorld()
				var on []string
				for _, n := range snapshot.Nodes {
					place := world.Add(fit.PlaceOf(&n.Shape, n.Name, fit.Resources{MilliCPU: 64000, Memory: 1 << 40, Pods: 110}, n.Load.Counts))
					if world.Check(place, snapshot.Waiting[0].Class).Why == "" {
						on = append(on, n.Name)
					}
				}
				return on
			}
			got := fits()
			for _, o := range tc.objects {
				s.set(o)
				got = fits()
			}
			for _, o := range tc.gone {
				s.remove(o)
				got = fits()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("it fits on (-want +got):\n%s", diff)
			}
		})
	}
}

// attachment is the volume's to the node.
func attachment(node, volume string) *storagev1.VolumeAttachment {
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-" + volume},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: diskDriver, NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}},
	}
}

// other is another disk like that one.
func other(disk *corev1.PersistentVolume) *corev1.PersistentVolume {
	another := disk.DeepCopy()
	another.Name, another.Spec.CSI.VolumeHandle = "pvc-2", "disk-2"
	return another
}

// A namespace's labels are looked at by the selectors of namespaces.
func TestNamespacesDecideWherePodsFit(t *testing.T) {
	s := newStore(time.Now)
	standing := gatedPod(func(p *corev1.Pod) {
		p.Namespace, p.Name, p.UID, p.Labels, p.Spec.NodeName = "web", "standing", "uid-standing", map[string]string{"app": "web"}, "n1"
	})
	waiting := gatedPod(func(p *corev1.Pod) {
		p.Namespace = "work"
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"loud": "true"}},
		}}}}
	})
	web := func(labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: labels}}
	}
	n1 := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelHostname: "n1"}}}
	for _, o := range []client.Object{n1, web(nil), &standing, &waiting} {
		s.set(o)
	}
	for _, step := range []struct {
		labels map[string]string
		fits   bool
	}{{nil, true}, {map[string]string{"loud": "true"}, false}, {nil, true}} {
		s.set(web(step.labels))
		var snapshot capacity.Snapshot
		s.fill(&snapshot, nobody)
		n := snapshot.Nodes[0]
		world := fit.NewWorld()
		place := world.Add(fit.PlaceOf(&n.Shape, n.Name, fit.Resources{MilliCPU: 64000, Memory: 1 << 40, Pods: 110}, n.Load.Counts))
		if why := world.Check(place, snapshot.Waiting[0].Class).Why; (why == "") != step.fits {
			t.Errorf("with labels %v of the namespace: refused because %q, want that it fits: %t", step.labels, why, step.fits)
		}
	}
}
