package manager

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// TestDryRunDecidesAsTheLeader: from what the leader has published and from the
// cluster's objects anybody comes to the leader's decision.
func TestDryRunDecidesAsTheLeader(t *testing.T) {
	pod := gatedPod(func(p *corev1.Pod) { p.ResourceVersion, p.CreationTimestamp = "", metav1.Now() })
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "work", Name: "j", UID: "uid-job"},
		Spec:       batchv1.JobSpec{Parallelism: new(int32(8)), Completions: new(int32(8))},
	}
	node := func(change func(*corev1.Node)) *corev1.Node {
		return joined(func(n *corev1.Node) {
			n.Labels = map[string]string{api.PoolLabel: "agents"}
			if change != nil {
				change(n)
			}
		})
	}
	machine := capacity.Instance{ID: "1", VMID: testVMID, ComputerName: "agents000001", State: capacity.InstanceRunning}
	starting := capacity.Instance{ID: "2", VMID: "22222222-2222-3333-4444-555555555555", ComputerName: "agents000002", State: capacity.InstanceCreating, Created: created}
	for name, tc := range map[string]struct {
		objects   []client.Object
		capacity  int
		instances []capacity.Instance
	}{
		"nothing to do":           {},
		"machines to buy":         {objects: []client.Object{&pod, job}},
		"a machine on its way":    {objects: []client.Object{&pod, job}, capacity: 1, instances: []capacity.Instance{starting}},
		"room on a node":          {objects: []client.Object{&pod, job, node(nil)}, capacity: 1, instances: []capacity.Instance{machine}},
		"a node that nobody uses": {objects: []client.Object{node(nil)}, capacity: 1, instances: []capacity.Instance{machine}},
		"a node to adopt": {
			objects: []client.Object{joined(func(n *corev1.Node) { n.Annotations = nil })}, capacity: 1, instances: []capacity.Instance{machine},
		},
		"a node whose machine is being deleted": {
			objects: []client.Object{node(func(n *corev1.Node) {
				n.Annotations[api.DeletingAnnotation] = testVMID
				n.Labels[api.RetiredLabel] = testToken
			})},
			capacity: 1, instances: []capacity.Instance{{ID: "1", VMID: testVMID, ComputerName: "agents000001", State: capacity.InstanceDeleting}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool := tagged()
			pool.Capacity = tc.capacity
			w, _ := observed(t, &scriptedCloud{pool: pool, instances: tc.instances}, tc.objects...)
			o, err := w.observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			b, ok, err := ParseBasis(statusMap(w.publisher.data(o, nil, nil)))
			if !ok || err != nil {
				t.Fatalf("published: %t, error %v", ok, err)
			}
			var pods []corev1.Pod
			var nodes []corev1.Node
			var jobs []batchv1.Job
			for _, o := range tc.objects {
				switch o := o.(type) {
				case *corev1.Pod:
					pods = append(pods, *o)
				case *corev1.Node:
					nodes = append(nodes, *o)
				case *batchv1.Job:
					jobs = append(jobs, *o)
				}
			}
			got := DryRun(o.snapshot.Now, b, pods, nodes, jobs, []appsv1.DaemonSet{}, nil)
			// What only the cloud tells of a machine is of no account to the plan.
			anonymous := cmp.Transformer("machine", func(i capacity.Instance) string { return i.VMID })
			if diff := cmp.Diff(capacity.Plan(o.snapshot), got, anonymous); diff != "" {
				t.Errorf("decision (-leader +dry run):\n%s", diff)
			}
		})
	}
}

func TestParseBasis(t *testing.T) {
	if _, ok, err := ParseBasis(statusMap(nil)); ok || err != nil {
		t.Errorf("nothing published: %t, error %v", ok, err)
	}
	if _, _, err := ParseBasis(statusMap(map[string]string{api.BasisKey: "{"})); err == nil {
		t.Error("half a basis is read without an error")
	}
}

// A machine that runs as a node is published by its node alone: a cluster of a
// thousand machines must fit into one ConfigMap.
func TestBasisLeavesOutWhatNodesShow(t *testing.T) {
	n := joined(func(n *corev1.Node) { n.Labels = map[string]string{api.PoolLabel: "agents"} })
	running := capacity.Instance{ID: "1", VMID: testVMID, ComputerName: "agents000001", State: capacity.InstanceRunning}
	other := capacity.Instance{ID: "2", VMID: "other", ComputerName: "agents000002", State: capacity.InstanceFailed}
	pool := tagged()
	pool.Capacity = 2
	w, _ := observed(t, &scriptedCloud{pool: pool, instances: []capacity.Instance{running, other}}, n)
	o, err := w.observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := basisOf(o.snapshot)
	if diff := cmp.Diff([]capacity.Instance{other}, b.Pools[0].Instances); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
	if got := len(o.snapshot.Pools[0].Instances); got != 2 {
		t.Errorf("the snapshot itself has %d machines left", got)
	}
}

// What of a running machine its node does not show is published too, and a list
// that shows nothing new has nothing published.
func TestBasisHasWhatNodesDoNotShow(t *testing.T) {
	basis := func(lists int) Basis {
		nodes := []*capacity.Node{}
		pool := capacity.PoolState{Pool: capacity.Pool{Name: "agents"}, Lists: lists}
		for _, i := range []capacity.Instance{{VMID: "plain"}, {VMID: "outdated", Outdated: true}, {VMID: "protected", Protected: true}, {VMID: "changing", Changing: true}} {
			i.State = capacity.InstanceRunning
			pool.Instances = append(pool.Instances, i)
			n := &capacity.Node{Name: i.VMID, Pool: "agents", Recorded: i.VMID, Instance: i}
			n.Labels = map[string]string{api.PoolLabel: "agents"}
			nodes = append(nodes, n)
		}
		return basisOf(capacity.Snapshot{Pools: []capacity.PoolState{pool}, Nodes: nodes})
	}
	var published []string
	for _, i := range basis(1).Pools[0].Instances {
		published = append(published, i.VMID)
	}
	if diff := cmp.Diff([]string{"outdated", "protected", "changing"}, published); diff != "" {
		t.Errorf("machines of the basis (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(basis(1), basis(2)); diff != "" {
		t.Errorf("another list changes the basis (-before +after):\n%s", diff)
	}
}
