package manager

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// localVolume is a volume as k3s' local-path provisioner makes it, on the disk of the
// node with that host name.
func localVolume(host string, change func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"},
		Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: "work", Name: "data"},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}},
			}}}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	}
	if change != nil {
		change(pv)
	}
	return pv
}

// driverLabel is how a driver whose volumes are disks in the machine knows the node.
const driverLabel = "topology.disks.example/node"

func byLabel(pv *corev1.PersistentVolume) {
	pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Key = driverLabel
}

func TestWhichVolumesKeepTheirNode(t *testing.T) {
	phase := func(p corev1.PersistentVolumePhase) func(*corev1.PersistentVolume) {
		return func(pv *corev1.PersistentVolume) { pv.Status.Phase = p }
	}
	const data = "pvc-1 of claim work/data"
	for name, tc := range map[string]struct {
		volume *corev1.PersistentVolume
		host   string // label of the node, whose name is agents000001
		own    string // its label of a volume driver
		want   string
	}{
		"in use":                 {volume: localVolume("agents000001", nil), host: "agents000001", want: data},
		"its claim is gone":      {volume: localVolume("agents000001", phase(corev1.VolumeReleased)), host: "agents000001", want: data},
		"its removal has failed": {volume: localVolume("agents000001", phase(corev1.VolumeFailed)), host: "agents000001", want: data},
		"never used":             {volume: localVolume("agents000001", phase(corev1.VolumeAvailable)), host: "agents000001"},
		"of another node":        {volume: localVolume("agents000002", nil), host: "agents000001"},
		"by the node's own name": {volume: localVolume("agents000001", nil), want: data},
		"by its host name alone": {volume: localVolume("vm-1", nil), host: "vm-1", want: data},
		"elsewhere":              {volume: localVolume("", func(pv *corev1.PersistentVolume) { pv.Spec.NodeAffinity = nil }), host: "agents000001"},
		"in the zone of the node": {volume: localVolume("agents000001", func(pv *corev1.PersistentVolume) {
			pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Key = corev1.LabelTopologyZone
		}), host: "agents000001"},
		"by a label of its driver's own":  {volume: localVolume("agents000001", byLabel), host: "vm-1", own: "agents000001", want: data},
		"by such a label of another node": {volume: localVolume("agents000002", byLabel), host: "vm-1", own: "agents000001"},
		"by a label that more nodes have": {volume: localVolume("west", byLabel), host: "vm-1", own: "west"},
		"made by hand, by no claim":       {volume: localVolume("agents000001", func(pv *corev1.PersistentVolume) { pv.Spec.ClaimRef = nil }), host: "agents000001", want: "pvc-1"},
	} {
		t.Run(name, func(t *testing.T) {
			n := fencedNode()
			if tc.host != "" {
				n.Labels[corev1.LabelHostname] = tc.host
			}
			if tc.own != "" {
				n.Labels[driverLabel] = tc.own
			}
			w := newWorld(t, open404, interceptor.Funcs{}, n, tc.volume)
			seen := func() string {
				o := w.observation()
				w.store.fill(&o.snapshot, w.progress.show)
				return o.snapshot.Nodes[0].Volume
			}
			if got := seen(); got != tc.want {
				t.Errorf("the node has volume %q, want %q", got, tc.want)
			}
			if got := VolumeOn(n, []corev1.PersistentVolume{*tc.volume}); got != tc.want {
				t.Errorf("at a last look the node has volume %q, want %q", got, tc.want)
			}
			w.store.remove(tc.volume)
			if got := seen(); got != "" {
				t.Errorf("the node still has volume %q", got)
			}
		})
	}
}

// A volume that only the last look finds keeps its node, too.
func TestCommitLooksForVolumes(t *testing.T) {
	for name, tc := range map[string]struct {
		asked   string // by an operator
		prepare func(*testing.T, *world)
		want    bool
	}{
		"found":                      {},
		"an operator decides":        {asked: string(api.FateDelete), want: true},
		"the volumes cannot be read": {prepare: fails("list", "persistentvolumes")},
		"it is of another node's":    {prepare: func(t *testing.T, w *world) { w.withoutVolume(t) }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := fencedNode()
			if tc.asked != "" {
				n.Annotations[api.RetireAnnotation] = tc.asked
			}
			w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{}, n, localVolume("agents000001", nil))
			if tc.prepare != nil {
				tc.prepare(t, w)
			}
			err := w.commit(t.Context(), w.node(t), commitStep())
			if got := w.node(t).Annotations[api.DeletingAnnotation] == testVMID; got != tc.want || (err == nil) != tc.want {
				t.Errorf("its deletion is committed: %t, want %t; error %v", got, tc.want, err)
			}
			if api.FenceToken(w.node(t)) == "" {
				t.Error("the fence is gone")
			}
			if !tc.want && tc.prepare == nil && !errors.Is(err, errNotYet) {
				t.Errorf("error %v, want one that has it planned again", err)
			}
		})
	}
}

// withoutVolume removes the volume from the API server.
func (w *world) withoutVolume(t *testing.T) {
	t.Helper()
	if err := w.typed.CoreV1().PersistentVolumes().Delete(t.Context(), "pvc-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A dry run knows of volumes.
func TestDryRunKnowsVolumes(t *testing.T) {
	n := fencedNode()
	n.Status.NodeInfo.SystemUUID = testVMID
	b := Basis{Pools: []capacity.PoolState{{Pool: capacity.Pool{Name: "agents", Capacity: 1}, Listed: true}}}
	d := DryRun(created, b, nil, []corev1.Node{*n}, nil, nil, []client.Object{localVolume("agents000001", nil)})
	if len(d.Steps) != 1 || d.Steps[0].Kind != capacity.StepUnfence {
		t.Errorf("steps %+v, want that the fence is taken back", d.Steps)
	}
}
