package manager

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// readCache is a cache that shows what is there, or fails.
type readCache struct {
	cache.Cache
	client client.Client
	err    error
}

func (c *readCache) List(ctx context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if c.err != nil {
		return c.err
	}
	return c.client.List(ctx, list)
}

func (c *readCache) Get(ctx context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	if c.err != nil {
		return c.err
	}
	return c.client.Get(ctx, key, object)
}

// observed is a world with that cloud, which has been read.
func observed(t *testing.T, cloud *scriptedCloud, objects ...client.Object) (*world, *readCache) {
	w := newWorld(t, open404, interceptor.Funcs{}, objects...)
	cached := &readCache{client: w.client}
	w.cache = cached
	cloud.pool.Name, cloud.pool.Settings.Max = "agents", 6
	w.pools = newPools(cloud, w.now, logr.Discard(), w.kick)
	w.pools.refresh(t.Context())
	return w, cached
}

func keys(d *dispatcher) []string {
	var keys []string
	for _, a := range d.waiting {
		keys = append(keys, a.key)
	}
	slices.Sort(keys)
	return keys
}

func tagged() capacity.Pool {
	return capacity.Pool{Settings: api.PoolSettings{Resources: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"),
	}}}
}

// TestStepBuysForAWaitingPod is the path from the cluster's objects to the
// actions, with the Job's pods that are yet to come counted in.
func TestStepBuysForAWaitingPod(t *testing.T) {
	pod := gatedPod(func(p *corev1.Pod) { p.ResourceVersion, p.CreationTimestamp = "", metav1.Now() })
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "work", Name: "j", UID: "uid-job"},
		Spec:       batchv1.JobSpec{Parallelism: new(int32(8)), Completions: new(int32(8))},
	}
	w, _ := observed(t, &scriptedCloud{pool: tagged()}, &pod, job)
	w.step(t.Context())
	if diff := cmp.Diff([]string{"grow/agents"}, keys(w.lanes.cloud)); diff != "" {
		t.Errorf("actions on the cloud (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"reason/uid", "status"}, keys(w.lanes.reasons)); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	o, err := w.observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]capacity.Expected{{Like: "uid", Count: 7}}, o.snapshot.Expected); diff != "" {
		t.Errorf("expected pods (-want +got):\n%s", diff)
	}
	if got := testutil.ToFloat64(w.metrics.gated); got != 1 {
		t.Errorf("tidegate_gated_pods is %v, want 1", got)
	}
}

func TestNothingIsDoneBlindly(t *testing.T) {
	pod := gatedPod(func(p *corev1.Pod) { p.ResourceVersion = "" })
	w, cached := observed(t, &scriptedCloud{pool: tagged()}, &pod)
	cached.err = errors.New("the cache has not synced")
	if again := w.step(t.Context()); again != time.Second {
		t.Errorf("the next look is in %s, want a second", again)
	}
	if got := keys(w.lanes.cloud); len(got) != 0 {
		t.Errorf("actions %v without a look at the cluster", got)
	}
}

func TestGaugesOfAPoolGoWithIt(t *testing.T) {
	cloud := &scriptedCloud{pool: tagged(), others: []capacity.Pool{{Name: "big", Capacity: 3}}}
	w, _ := observed(t, cloud)
	w.step(t.Context())
	if got := testutil.CollectAndCount(w.metrics.poolMachines); got != 2 {
		t.Errorf("%d pools are measured, want 2", got)
	}
	cloud.others = nil
	w.pools.refresh(t.Context())
	w.step(t.Context())
	if got := testutil.CollectAndCount(w.metrics.poolMachines); got != 1 {
		t.Errorf("%d pools are measured, want the one that is left", got)
	}
}

// joined is a ready node of the pool.
func joined(change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "agents000001", UID: "uid-node", CreationTimestamp: metav1.NewTime(created),
		Annotations: map[string]string{api.VMIDAnnotation: testVMID},
	}}
	n.Status.NodeInfo.SystemUUID = testVMID
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("7800m")}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(created)}}
	if change != nil {
		change(n)
	}
	return n
}

// TestNodesTeachTheirPool: what a process did not live to record is learned by
// the next one from the node itself.
func TestNodesTeachTheirPool(t *testing.T) {
	for name, tc := range map[string]struct {
		node *corev1.Node
		want int64 // the millicores of the pool's shape; its tags say 8 CPUs
	}{
		"an adopted node":                    {node: joined(nil), want: 7800},
		"not one that is not adopted":        {node: joined(func(n *corev1.Node) { n.Annotations = nil }), want: 8000},
		"not one adopted as another machine": {node: joined(func(n *corev1.Node) { n.Annotations[api.VMIDAnnotation] = "other" }), want: 8000},
		"not one that is not ready":          {node: joined(func(n *corev1.Node) { n.Status.Conditions = nil }), want: 8000},
		"not one outside the pool":           {node: joined(func(n *corev1.Node) { n.Status.NodeInfo.SystemUUID = "other" }), want: 8000},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{pool: tagged(), instances: []capacity.Instance{{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}}}
			w, _ := observed(t, cloud, tc.node)
			if _, err := w.observe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := agents(t, w.pools).Shape.Allocatable.MilliCPU; got != tc.want {
				t.Errorf("the pool offers %d millicores, want %d", got, tc.want)
			}
		})
	}
}

func TestAdoptionRecordsTheMachineAndLearnsItsBoot(t *testing.T) {
	for name, tc := range map[string]struct {
		bought   time.Duration // before the node became ready
		reimaged bool
		recorded bool // before
		outdated bool
		want     time.Duration
	}{
		"a boot":                          {bought: 70 * time.Second, want: 70 * time.Second},
		"ready anew after a restart":      {bought: 20 * 24 * time.Hour, want: defaultBootTime},
		"ready anew after a reimage":      {bought: 10 * time.Minute, reimaged: true, want: defaultBootTime},
		"ready anew after it was silent":  {bought: 10 * time.Minute, recorded: true, want: defaultBootTime},
		"ready before the machine's date": {bought: -time.Second, want: defaultBootTime},
		"a boot of another model":         {bought: 70 * time.Second, outdated: true, want: defaultBootTime},
	} {
		t.Run(name, func(t *testing.T) {
			machine := capacity.Instance{ID: "1", VMID: testVMID, State: capacity.InstanceRunning, Created: created.Add(-tc.bought), Outdated: tc.outdated}
			w, _ := observed(t, &scriptedCloud{instances: []capacity.Instance{machine}}, joined(func(n *corev1.Node) {
				if !tc.recorded {
					n.Annotations = nil
				}
			}))
			if tc.reimaged {
				if err := w.pools.restart(t.Context(), "agents", api.FateReimage, []capacity.Ref{{ID: machine.ID, VMID: machine.VMID}}, func(error) {}); err != nil {
					t.Fatal(err)
				}
			}
			step := capacity.Step{Node: "agents000001", UID: "uid-node", Kind: capacity.StepAdopt, Pool: "agents", Instance: machine}
			if err := w.perform(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			if n := w.node(t); n.Labels[api.PoolLabel] != "agents" || n.Annotations[api.VMIDAnnotation] != testVMID {
				t.Errorf("labels %v, annotations %v: want pool and machine recorded", n.Labels, n.Annotations)
			}
			if got := agents(t, w.pools); got.BootTime != tc.want || (got.Shape == nil) != tc.outdated {
				t.Errorf("boot time %s, shape %v, want %s and the node's, unless it is of another model", got.BootTime, got.Shape, tc.want)
			}
		})
	}
}

func TestOfNodesThatAreGoneNothingStays(t *testing.T) {
	w, _ := observed(t, &scriptedCloud{}, joined(nil))
	for _, uid := range []types.UID{"uid-node", "gone"} {
		w.progress.failed(uid)
	}
	if _, err := w.observe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.progress.nodes) != 1 || w.progress.nodes["uid-node"] == nil || len(w.seen) != 1 {
		t.Errorf("progress of %v, seen %v: want of the node that is there only", w.progress.nodes, w.seen)
	}
}

// When a pod will end is learned from those like it that have ended.
func TestEndsAreLearned(t *testing.T) {
	started := metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	like := func(name string, phase corev1.PodPhase) *corev1.Pod {
		p := podOn(name, ownedBy("Job", "batch/v1"))
		p.UID = types.UID(name)
		p.Spec.Containers = []corev1.Container{{Image: "render"}}
		p.Status.Phase, p.Status.StartTime = phase, &started
		return p
	}
	done := like("done", corev1.PodSucceeded)
	done.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(started.Add(20 * time.Minute))},
	}}}
	s := newStore(time.Now)
	s.set(like("first", corev1.PodRunning))
	s.set(done)
	s.set(like("second", corev1.PodRunning))
	for name, want := range map[types.UID]time.Time{"first": {}, "second": started.Add(20 * time.Minute)} {
		if got := s.pods[name].pod.Ends; !got.Equal(want) {
			t.Errorf("pod %s is expected to end at %s, want %s", name, got, want)
		}
	}
}
