package manager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// observation is the cluster as the caches show it, for one plan and the
// actions that follow from it.
type observation struct {
	snapshot capacity.Snapshot
	store    *store
	changes  int // that the snapshot contains
	// observeOnly is true while nothing may be acted on.
	observeOnly bool
}

// pod returns the pod's object, nil if it has changed since the snapshot.
func (o *observation) pod(uid types.UID) *corev1.Pod { return o.store.pod(uid, o.changes) }

// node returns the node's object, nil if it has changed since the snapshot.
func (o *observation) node(name string) *corev1.Node { return o.store.nodeObject(name, o.changes) }

// poolOf returns the pool that the node's machine belongs to, "" for none.
func (o *observation) poolOf(name string) string {
	i, found := slices.BinarySearchFunc(o.snapshot.Nodes, name, func(n *capacity.Node, name string) int { return strings.Compare(n.Name, name) })
	if !found || o.snapshot.Nodes[i].Instance.VMID == "" {
		return ""
	}
	return o.snapshot.Nodes[i].Pool
}

// observe takes a snapshot of the cluster and of the pools as they are known,
// and teaches the pools what the nodes show.
func (m *Manager) observe(ctx context.Context) (*observation, error) {
	o := &observation{store: m.store}
	o.snapshot = capacity.Snapshot{Now: m.now(), Settle: m.settle, Limits: m.limits, Pools: m.pools.snapshot()}
	if err := m.pools.failure(); err != nil && len(o.snapshot.Pools) == 0 {
		o.snapshot.PoolsUnknown = err.Error()
	}
	changes, vmids := m.store.fill(&o.snapshot, m.progress.show)
	o.changes = changes
	if m.teach(o, vmids) {
		o.snapshot.Pools = m.pools.snapshot()
	}
	m.recognise(o)
	m.forgetGone(o)
	m.followMachines(o)
	m.followSilence(o)
	m.followOthers(o)
	var err error
	o.observeOnly, err = m.observesOnly(ctx)
	return o, err
}

// teach tells the pools which machines are nodes, and what new ones look like;
// it reports whether a pool has learned something.
func (m *Manager) teach(o *observation, vmids []string) bool {
	learned, unknown := false, false
	oldest := map[string]*capacity.Node{} // of each pool's latest model, by pool
	seen := make(map[types.UID]bool, len(o.snapshot.Nodes))
	reimaged := map[string]time.Time{}
	for _, n := range o.snapshot.Nodes {
		if r := n.Restart; r != nil && r.Fate == api.FateReimage && r.Done != nil {
			reimaged[r.VMID] = r.Done.Time
		}
		switch {
		case n.Instance.VMID == "":
			unknown = unknown || !m.seen[n.UID]
		case n.Ready && n.Recorded == n.Instance.VMID && !n.Instance.Outdated:
			if first := oldest[n.Pool]; first == nil || n.Created.Before(first.Created) {
				oldest[n.Pool] = n
			}
		}
		seen[n.UID] = true
	}
	for pool, n := range oldest {
		if !m.pools.learned(pool) {
			m.pools.learn(pool, shapeFromNode(n, pool), 0)
			learned = true
		}
		registered := m.now().Sub(n.Created) >= capacity.JoinTimeout
		learned = m.pools.learnDrivers(pool, n, registered) || learned
	}
	m.seen = seen
	m.progress.keep(seen)
	return m.pools.setNodes(vmids, unknown, o.claims, reimaged) || learned
}

// claims are the VMIDs and names, in lower case, that the nodes which are ready have
// by their own account. One that has changed since the snapshot claims them in the next.
func (o *observation) claims() map[string]bool {
	claimed := map[string]bool{}
	for _, n := range o.snapshot.Nodes {
		object := o.node(n.Name)
		if !n.Ready || object == nil {
			continue
		}
		claimed[n.Name] = true
		for _, vmid := range capacity.VMIDs(object.Status.NodeInfo.SystemUUID) {
			claimed[vmid] = true
		}
	}
	return claimed
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
