package capacity

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
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
	// Limits bound what is bought in all.
	Limits Limits
	// Nodes, one for each name. Nodes and pods are read only: a snapshot
	// shares what has not changed with the one before it.
	Nodes []*Node
	// Waiting are the pods that are bound to no node and not finished.
	Waiting []*Pod
	// Expected are pods that a Job's controller has yet to create.
	Expected []Expected
	// Daemons are the DaemonSets' pods, which every matching node carries.
	Daemons []*fit.Class
}

// Limits bound the spending whatever the demand; zero is no bound.
type Limits struct {
	// Machines is the most machines that all pools together may have.
	Machines int
	// HourlyPrice is the most that all machines together may cost an hour, in
	// the unit of the pools' prices.
	HourlyPrice float64
}

// PoolState is a pool with all that is known of it.
type PoolState struct {
	Pool
	// Instances are the pool's machines; nil until they were first listed.
	Instances []Instance
	// Listed is true once Instances is known, and Lists counts how many lists of
	// them have been read.
	Listed bool
	Lists  int
	// Growing is true while a request to grow is being submitted. Capacity
	// then is already the requested one.
	Growing bool
	// Lowered is when somebody else last lowered the capacity, nil if nobody did.
	Lowered *Lowered
	// Unjoined are the VMIDs of machines that were watched since they were bought or
	// reimaged and have been no ready nodes since, and when that was.
	Unjoined map[string]time.Time
	// Unlisted is how many machines of the capacity no list has shown for so long
	// that they are not counted on.
	Unlisted int
	// Tainted is true if the pool's nodes join with a taint that keeps work off
	// them until they are adopted.
	Tainted bool
	// Repairs are when machines of the pool were given up lately, oldest first.
	Repairs []time.Time
	// Shape is what a new machine offers; nil if unknown.
	Shape *fit.Shape
	// BootTime is how long a machine takes from purchase to ready, the median.
	BootTime time.Duration
	// SlowBoot is what nine in ten machines need at most; 0 if unknown.
	SlowBoot time.Duration
	// Asked is when the pool last grew; zero if unknown.
	Asked time.Time
	// AwayUntil and AwayReason keep the pool from growing after a refusal.
	AwayUntil  time.Time
	AwayReason string
	// DeletesUntil is until when machines of the pool are deleted although its tag has
	// them deallocated: the cloud did not do that.
	DeletesUntil time.Time
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

// Node is one node of the cluster.
type Node struct {
	Name string
	UID  types.UID
	fit.Shape
	// Pool is the pool that the node's instance belongs to, "" for none.
	Pool string
	// Instance is the node's machine; its VMID is "" if the node could not be
	// mapped to exactly one.
	Instance Instance
	// Recorded is the VMID that the node was mapped to when it joined.
	Recorded string
	Ready    bool
	// SilentSince is when the node ceased to be ready, or joined if it never was;
	// zero if it is ready or that is unknown.
	SilentSince time.Time
	Created     time.Time
	// Server is true for a server of the cluster, which no pool may contain.
	Server bool
	// Keep says why the node must not be retired, "" if it may.
	Keep string
	// Volume names a volume whose data are on the node's own disk, "" for none.
	Volume string
	// Requested is what an operator asked to become of the node's machine once
	// the node is empty, "" for nothing.
	Requested api.Fate
	// Retirement is the node's mark, nil for none; Fence its fence's token;
	// Deleting the VMID that its deletion was committed for.
	Retirement *api.Retirement
	Fence      string
	Deleting   string
	// Restart is the commitment to restart or reimage the machine, nil for none,
	// and BootID that of the machine's present run.
	Restart *api.Restart
	BootID  string
	// Outdated is whether the node says of its machine that it is; see Instance.
	Outdated bool
	// MissingSince is the number of the first list of the pool's machines, of
	// those without a break up to the latest, that lacks the recorded one; 0 if
	// it is there.
	MissingSince int
	// Interruptions are what the agent on the node reports, and Approved those of
	// them that the agent was told to let happen.
	Interruptions, Approved []api.Interruption
	// Proving is when this process first tried to prove the fence, and Proved
	// when it succeeded; zero before.
	Proving, Proved time.Time
	// HoldUntil keeps the node from the next step after a failed one, and
	// FenceAfter from the next fence after one that could not be proved.
	HoldUntil, FenceAfter time.Time
	// Freed is when work last ended on the node; zero if nobody saw it.
	Freed time.Time
	// Load is what stands on the node; nil for nothing.
	Load *Load
}

var nothing = &Load{}

func (n *Node) load() *Load {
	if n.Load == nil {
		return nothing
	}
	return n.Load
}

// Load is the pods that are bound to a node and not finished, and what follows
// from them. It does not change: it is made anew when one of them does.
type Load struct {
	Pods []*Pod
	// Daemons is what the DaemonSets' pods request, and Others what the rest do.
	Daemons, Others fit.Resources
	// Batch is the part of Others that ends by itself.
	Batch fit.Resources
	// Counts are the classes of the pods, and Gangs those that are in a gang.
	Counts []fit.Count
	Gangs  []*Pod
	// Work is how many pods keep the node from being empty, Permanent how many
	// of these are expected to run for ever.
	Work, Permanent int
	// Ends is when the last of the work is expected to end, and Bound when the
	// last of it came; zero if unknown.
	Ends, Bound time.Time
}

// NewLoad returns the load of a node with these pods.
func NewLoad(pods []*Pod) *Load {
	l := &Load{Pods: pods}
	index := map[*fit.Class]int{}
	for _, p := range pods {
		i, known := index[p.Class]
		if !known {
			i = len(l.Counts)
			index[p.Class] = i
			l.Counts = append(l.Counts, fit.Count{Class: p.Class})
		}
		l.Counts[i].N++
		if p.Terminating {
			l.Counts[i].Terminating++
		}
		if p.Gang != "" && !p.OthersGate {
			l.Gangs = append(l.Gangs, p)
		}
		l.add(p)
	}
	return l
}

func (l *Load) add(p *Pod) {
	if p.Work == Daemon {
		l.Daemons = l.Daemons.Add(p.Class.Requests)
		return
	}
	l.Others = l.Others.Add(p.Class.Requests)
	switch p.Work {
	case Batch:
		l.Batch = l.Batch.Add(p.Class.Requests)
	case LongLived:
		l.Permanent++
	default:
		return
	}
	l.Work++
	l.Ends = later(l.Ends, p.Ends)
	l.Bound = later(l.Bound, p.Bound)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// SetPods puts the bound pods on their nodes and lets the others wait.
func (s *Snapshot) SetPods(pods []*Pod) {
	bound := map[string][]*Pod{}
	s.Waiting = nil
	for _, p := range pods {
		if p.Node == "" {
			s.Waiting = append(s.Waiting, p)
		} else {
			bound[p.Node] = append(bound[p.Node], p)
		}
	}
	for _, n := range s.Nodes {
		n.Load = NewLoad(bound[n.Name])
	}
}

// plain reports whether the node is a pool's machine at work about which nothing
// else is noted: no step is due for it but a first mark.
func (n *Node) plain() bool {
	return n.Ready && n.mapped() && n.Keep == "" && n.Volume == "" && n.Requested == "" && n.Retirement == nil && n.Fence == "" && n.Deleting == "" && n.Restart == nil &&
		n.Outdated == n.Instance.Outdated && !n.HasTaint(isOurStartup) &&
		len(n.Interruptions) == 0 && len(n.Approved) == 0
}

// mapped reports whether it is certain which machine the node is.
func (n *Node) mapped() bool { return n.Instance.VMID != "" && n.Recorded == n.Instance.VMID }

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
	Class *fit.Class
	Work  Work
	// Node is where the pod is bound, "" if it is not.
	Node string
	// Bound is when the pod was bound; zero if it is not or that is unknown.
	Bound time.Time
	// Owned is true for a pod whose controller makes a new one in its place.
	Owned bool
	// Grace is how long the pod may take to end when it is asked to.
	Grace time.Duration
	// Terminating is true while the pod is being deleted.
	Terminating bool
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
	// GangSize is how many unfinished pods the gang needs to start; a gang of
	// GangSizeUnknown does not.
	Gang     string
	GangSize int
	// MaxWait releases the pod after that long at the gate; 0 for never.
	MaxWait time.Duration
}

// GangSizeUnknown is the size of a gang until it is known.
const GangSizeUnknown = math.MaxInt

// Expected are pods that are not there yet but will come: a Job's controller
// creates its pods in growing batches.
type Expected struct {
	// Like is the UID of a pod that is there and that they will be like.
	Like types.UID
	// Count is how many more will come.
	Count int
}
