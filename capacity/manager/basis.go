package manager

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// Basis is what a plan rests on beside the cluster's own objects. The leader
// publishes it, because nobody else can read the cloud.
type Basis struct {
	Settle time.Duration
	Limits capacity.Limits
	// PoolsUnknown says why the pools have not been read, "" if they were.
	PoolsUnknown string
	// Pools lack the machines that run as nodes and are nothing special: the nodes
	// show them.
	Pools []capacity.PoolState
}

// basisOf is what the snapshot rests on.
func basisOf(s capacity.Snapshot) Basis {
	b := Basis{Settle: s.Settle, Limits: s.Limits, PoolsUnknown: s.PoolsUnknown, Pools: slices.Clone(s.Pools)}
	recorded := make(map[string]bool, len(s.Nodes))
	for _, n := range s.Nodes {
		recorded[n.Recorded] = n.Pool == n.Labels[api.PoolLabel]
	}
	for i := range b.Pools {
		b.Pools[i].Lists = 0 // it would have the basis published with every list
		var others []capacity.Instance
		for _, m := range b.Pools[i].Instances {
			if m.State != capacity.InstanceRunning || m.Outdated || m.Protected || m.Changing || !recorded[m.VMID] {
				others = append(others, m)
			}
		}
		b.Pools[i].Instances = others
	}
	return b
}

// ParseBasis reads what the leader published; false means that no leader has.
func ParseBasis(published *corev1.ConfigMap) (Basis, bool, error) {
	var b Basis
	text, ok := published.Data[api.BasisKey]
	if !ok {
		return b, false, nil
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return Basis{}, false, fmt.Errorf("ConfigMap %s, key %s: %w", api.StatusConfigMap, api.BasisKey, err)
	}
	return b, true, nil
}

// DryRun returns what a leader that has just started would decide for a cluster
// of these objects; others are namespaces and what there is of volumes. Finished pods
// may be left out. It does not know what only the leader's own process does: which
// fences are proved, and what failed a moment ago.
func DryRun(now time.Time, b Basis, pods []corev1.Pod, nodes []corev1.Node, jobs []batchv1.Job, sets []appsv1.DaemonSet, others []client.Object) capacity.Decision {
	s := newStore(func() time.Time { return now })
	for i := range pods {
		s.set(&pods[i])
	}
	for i := range nodes {
		s.set(&nodes[i])
	}
	for i := range jobs {
		s.set(&jobs[i])
	}
	for i := range sets {
		s.set(&sets[i])
	}
	for _, o := range others {
		s.set(o)
	}
	snapshot := capacity.Snapshot{Now: now, Settle: b.Settle, Limits: b.Limits, PoolsUnknown: b.PoolsUnknown, Pools: b.poolsOf(nodes)}
	s.fill(&snapshot, func(*capacity.Node) bool { return false })
	return capacity.Plan(snapshot)
}

// poolsOf completes the pools with the machines that are these nodes.
func (b Basis) poolsOf(nodes []corev1.Node) []capacity.PoolState {
	pools := slices.Clone(b.Pools)
	for i := range pools {
		p := &pools[i]
		p.Instances = slices.Clone(p.Instances)
		for j := range nodes {
			n := &nodes[j]
			vmid := n.Annotations[api.VMIDAnnotation]
			known := slices.ContainsFunc(p.Instances, func(m capacity.Instance) bool { return m.VMID == vmid })
			if vmid != "" && strings.EqualFold(n.Labels[api.PoolLabel], p.Name) && !known {
				p.Instances = append(p.Instances, capacity.Instance{VMID: vmid, ComputerName: n.Name, State: capacity.InstanceRunning})
			}
		}
	}
	return pools
}
