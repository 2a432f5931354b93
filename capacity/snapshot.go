package capacity

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
)

// Snapshot is all that a decision depends on.
type Snapshot struct {
	// Now is the time of the snapshot.
	Now time.Time
	// Settle is how long a fence must have been proved before the live read.
	Settle time.Duration
	// PoolsUnknown says why the pools have not been read yet, "" once they were.
	PoolsUnknown string
	// Pools, one for each name.
	Pools []PoolState
	// Nodes, one for each name.
	Nodes []Node
	// Pods are all pods that are not finished, in any order.
	Pods []Pod
	// Expected are pods that a Job's controller has yet to create.
	Expected []Expected
	// Daemons are the DaemonSets' pods, which every matching node carries.
	Daemons []*Class
}

// PoolState is a pool with all that is known of it.
type PoolState struct {
	Pool
	// Instances are the pool's machines; nil until they were first listed.
	Instances []Instance
	// Listed is true once Instances is known.
	Listed bool
	// Growing is true while a request to grow is being submitted. Capacity
	// then is already the requested one.
	Growing bool
	// Shape is what a new machine offers; nil if unknown.
	Shape *Shape
	// BootTime is how long a machine takes from purchase to ready.
	BootTime time.Duration
	// AwayUntil and AwayReason keep the pool from growing after a refusal.
	AwayUntil  time.Time
	AwayReason string
}

// IdleAfter is how long an empty machine of the pool is kept: what its tag
// says, else its boot time. Waiting for as long as a reboot takes costs at
// most twice what a clairvoyant would pay (the ski-rental bound).
func (p *PoolState) IdleAfter() time.Duration {
	if p.Settings.IdleAfter != nil {
		return *p.Settings.IdleAfter
	}
	return p.BootTime
}

// Shape is what the scheduler sees of a node.
type Shape struct {
	Labels      map[string]string
	Taints      []corev1.Taint
	Allocatable Resources
}

// Node is one node of the cluster.
type Node struct {
	Name string
	UID  types.UID
	Shape
	// Pool is the pool that the node's instance belongs to, "" for none.
	Pool string
	// Instance is the node's machine; its VMID is "" if the node could not be
	// mapped to exactly one.
	Instance Instance
	// Recorded is the VMID that the node was mapped to when it joined.
	Recorded string
	Ready    bool
	Created  time.Time
	// Server is true for a server of the cluster, which no pool may contain.
	Server bool
	// Keep says why the node must not be retired, "" if it may.
	Keep string
	// Requested is true when an operator asked to retire the node.
	Requested bool
	// Retirement is the node's mark, nil for none; Fence its fence's token;
	// Deleting the VMID that its deletion was committed for.
	Retirement *api.Retirement
	Fence      string
	Deleting   string
	// Proving is when this process first tried to prove the fence, and Proved
	// when it succeeded; zero before.
	Proving, Proved time.Time
	// HoldUntil keeps the node from the next step after a failed one, and
	// FenceAfter from the next fence after one that could not be proved.
	HoldUntil, FenceAfter time.Time
}

// mapped reports whether it is certain which machine the node is.
func (n *Node) mapped() bool { return n.Instance.VMID != "" && n.Recorded == n.Instance.VMID }

// Class is what the scheduler looks at in a pod. Pods with equal scheduling
// fields share one Class, so that they are judged once.
type Class struct {
	// ID tells classes apart and orders them.
	ID       string
	Requests Resources
	// Spec holds the scheduling fields only: selector, affinity, tolerations.
	Spec corev1.PodSpec
	// Pool is the only pool that the pod may use, "" for any.
	Pool string
}

// Work says what a pod is to the node that carries it.
type Work int

// The kinds of work.
const (
	// Batch work ends by itself: a Job's pod, or one that opted in.
	Batch Work = iota
	// LongLived work is expected to run for ever, such as a Deployment's pod.
	LongLived
	// Daemon is a DaemonSet's pod, which every matching node carries.
	Daemon
	// Mirror is a static pod's mirror, which belongs to its node.
	Mirror
)

// IsWork reports whether the pod keeps a node from being empty.
func (w Work) IsWork() bool { return w == Batch || w == LongLived }

// Pod is one pod that is not finished.
type Pod struct {
	Key   types.NamespacedName
	UID   types.UID
	Class *Class
	Work  Work
	// Node is where the pod is bound, "" if it is not.
	Node string
	// Bound is when the pod was bound; zero if it is not or that is unknown.
	Bound time.Time
	// Ends is when the pod is expected to end; zero if unknown.
	Ends time.Time
	// Gated is true while Tidegate's gate is on the pod, and OthersGate while
	// there are gates of others.
	Gated, OthersGate bool
	// Released is true once Tidegate let the pod through the gate.
	Released bool
	// Nominated is the node that the pod is nominated for, "" for none.
	Nominated string
	// Unschedulable is true for a pod without gates of which the scheduler says
	// that it fits nowhere.
	Unschedulable bool
	Priority      int32
	Created       time.Time
	// Gang is the pod's gang, "" for none, unique within the namespace.
	// GangSize is how many unfinished pods the gang needs to start.
	Gang     string
	GangSize int
	// MaxWait releases the pod after that long at the gate; 0 for never.
	MaxWait time.Duration
}

// Expected are pods that are not there yet but will come: a Job's controller
// creates its pods in growing batches.
type Expected struct {
	// Like is the UID of a pod that is there and that they will be like.
	Like types.UID
	// Count is how many more will come.
	Count int
}
