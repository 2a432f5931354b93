package manager

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// observation is the cluster as the caches show it, for one plan and the
// actions that follow from it. Its objects are the caches' own: read only.
type observation struct {
	snapshot capacity.Snapshot
	pods     map[types.UID]*corev1.Pod
	nodes    map[string]*corev1.Node
	pools    map[string]string // of the nodes that are machines of one, by node
	// observeOnly is true while nothing may be acted on.
	observeOnly bool
}

// observe takes a snapshot of the cluster from the caches and of the pools as
// they are known, and teaches the pools what the nodes show.
func (m *Manager) observe(ctx context.Context) (*observation, error) {
	var pods corev1.PodList
	var nodes corev1.NodeList
	var jobList batchv1.JobList
	var daemonSets appsv1.DaemonSetList
	for _, list := range []client.ObjectList{&pods, &nodes, &jobList, &daemonSets} {
		if err := m.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("read %T from the cache: %w", list, err)
		}
	}
	o := &observation{pods: make(map[types.UID]*corev1.Pod, len(pods.Items)), nodes: make(map[string]*corev1.Node, len(nodes.Items)), pools: map[string]string{}}
	o.snapshot = capacity.Snapshot{Now: m.now(), Settle: m.settle}
	converted := m.converter.all(pods.Items)
	o.snapshot.Daemons = m.converter.daemons(daemonSets.Items)

	owners, succeeded := map[types.UID]types.UID{}, map[types.UID]int{}
	for i := range pods.Items {
		p := &pods.Items[i]
		o.pods[p.UID] = p
		if !api.OwnedByJob(p) {
			continue
		}
		owner := metav1.GetControllerOf(p).UID
		owners[p.UID] = owner
		if p.Status.Phase == corev1.PodSucceeded {
			succeeded[owner]++
		}
	}
	o.snapshot.Expected = jobs(jobList.Items, converted, owners, succeeded, o.snapshot.Now)

	for i := range nodes.Items {
		n := &nodes.Items[i]
		o.nodes[n.Name] = n
	}
	m.mapNodes(o)
	o.snapshot.SetPods(converted)
	var err error
	o.observeOnly, err = m.observesOnly(ctx)
	return o, err
}

// observesOnly reports whether nothing may be acted on: by the manager's own
// option, or because an operator paused Tidegate.
func (m *Manager) observesOnly(ctx context.Context) (bool, error) {
	if m.observeOnly {
		return true, nil
	}
	var published corev1.ConfigMap
	err := m.cache.Get(ctx, types.NamespacedName{Namespace: api.Namespace, Name: api.StatusConfigMap}, &published)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("read from the cache whether Tidegate is paused: %w", err)
	}
	return api.ObserveOnly(&published), nil
}

// mapNodes finds each node's machine and completes the snapshot with it.
func (m *Manager) mapNodes(o *observation) {
	var identities []capacity.Identity
	var vmids []string
	for _, n := range o.nodes {
		identities = append(identities, identity(n))
		vmids = append(vmids, capacity.VMIDs(n.Status.NodeInfo.SystemUUID)...)
	}
	places := capacity.MapNodes(identities, m.pools.snapshot())
	unknown, seen := false, make(map[types.UID]bool, len(o.nodes))
	for name, n := range o.nodes {
		converted := node(n)
		if place, found := places[name]; found {
			converted.Pool, converted.Instance = place.Pool, place.Instance
			o.pools[name] = place.Pool
			if converted.Ready && converted.Recorded == place.Instance.VMID && !m.pools.learned(place.Pool) {
				m.pools.learn(place.Pool, shapeFromNode(&converted, place.Pool), 0)
			}
		} else if !m.seen[n.UID] {
			unknown = true
		}
		seen[n.UID] = true
		m.progress.show(&converted)
		o.snapshot.Nodes = append(o.snapshot.Nodes, &converted)
	}
	m.seen = seen
	m.progress.keep(seen)
	m.pools.setNodes(vmids, unknown)
	o.snapshot.Pools = m.pools.snapshot()
	if err := m.pools.failure(); err != nil && len(o.snapshot.Pools) == 0 {
		o.snapshot.PoolsUnknown = err.Error()
	}
}
