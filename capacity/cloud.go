package capacity

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// Pool is one scale set as the cloud shows it.
type Pool struct {
	// Name is unique among the pools of a cluster, without regard to case.
	Name string
	// Capacity is the number of machines that the set was last asked for.
	Capacity int
	// Settled is true when no operation of the set is under way: what Capacity has
	// beyond the machines that are listed will not come by itself.
	Settled bool
	// Settings is what the set's tags say.
	Settings api.PoolSettings
	// VMSize is the machine type, such as Standard_D8s_v5.
	VMSize string
	// Zones are those that the set spreads its machines over, in the form that
	// Azure's cloud provider gives the node label topology.kubernetes.io/zone:
	// westeurope-1. Nil for a set that is not zonal. Whether the cluster's nodes
	// carry that label is another matter.
	Zones []string
	// Spot is true if Azure may take the set's machines at any time.
	Spot bool
	// Hardware is what a machine has by the cloud's own catalogue and the set's
	// model, before anything is reserved, as far as that is known: cpu, memory,
	// ephemeral-storage, GPUs. What a node offers is less.
	Hardware corev1.ResourceList
	// Arch is the machines' kubernetes.io/arch, "" if unknown.
	Arch string
	// Family names the vCPU quota that the set's machines count against, such
	// as standardDSv5Family; pools of one family share it. "" if unknown.
	Family string
	// VCPUs is how much of that quota one machine takes, 0 if unknown.
	VCPUs int
	// Headroom is how many machines more the quotas allow now, nil if unknown.
	// For each pool it is said as if that pool alone grew.
	Headroom *int
	// Refused, when not empty, says why the set must not be managed, such as
	// its orchestration mode. Such a pool never grows and never shrinks.
	Refused string
	// Gone is true for a set that was a pool before and does not exist any more; it is
	// refused, too. None of its machines is left.
	Gone bool
}

// Known is what tells a cluster's pools from other scale sets where no set is
// tagged.
type Known struct {
	// VMIDs are those of the cluster's nodes.
	VMIDs []string
	// Pools are the names of sets that were pools before, also to an earlier
	// process: a set without a machine has no node to be known by.
	Pools []string
}

// InstanceState is the part of an instance's life that Tidegate tells apart.
type InstanceState string

// The states of an instance.
const (
	// InstanceCreating is from the purchase until the machine runs.
	InstanceCreating InstanceState = "Creating"
	// InstanceRunning is a machine that runs.
	InstanceRunning InstanceState = "Running"
	// InstanceStopped is a machine that was stopped or deallocated.
	InstanceStopped InstanceState = "Stopped"
	// InstanceDeleting is a machine whose deletion was accepted.
	InstanceDeleting InstanceState = "Deleting"
	// InstanceRestarting is a machine whose restart or reimage was accepted.
	InstanceRestarting InstanceState = "Restarting"
	// InstanceFailed is a machine whose creation failed, or its start: then it is
	// deallocated.
	InstanceFailed InstanceState = "Failed"
)

// Instance is one machine of a pool.
type Instance struct {
	// ID is the instance ID within the pool; Azure may use it again.
	ID string
	// VMID is unique for ever, lower case.
	VMID string
	// Name is what Azure calls the machine; scheduled events list it by that.
	Name string
	// ComputerName is the machine's host name as Azure shows it.
	ComputerName string
	State        InstanceState
	// Deallocated is true for a machine that is off and has given its host back: it costs
	// no more than its disk. One that was only shut down is paid for.
	// Source: Azure documentation, "States and billing status of Azure VMs".
	Deallocated bool
	// Changing is true while an operation of the cloud's is at work on the machine: one
	// that was asked for long ago may yet end the machine's run.
	Changing bool
	// Zone is where the machine runs, in the form of Pool.Zones; "" if it is
	// not in a zone.
	Zone string
	// Protected is true if Azure may not choose the machine when it scales in.
	Protected bool
	// Outdated is true if the machine lacks the set's latest model: its size or
	// image, for instance, were changed since it was bought.
	Outdated bool
	// Created is when the machine was bought; zero if unknown.
	Created time.Time
}

// Off reports whether nothing runs on the machine, and nothing will before somebody
// starts it.
func (i Instance) Off() bool {
	return i.State == InstanceStopped || i.State == InstanceFailed && i.Deallocated
}

// Ref names an instance for deletion. Both parts must match: the ID alone may
// have passed to another machine.
type Ref struct {
	ID   string
	VMID string
}

// ErrNoAnswer is in the errors of requests of which nobody knows whether the cloud
// carries them out.
var ErrNoAnswer = errors.New("there was no answer, so it may be carried out all the same")

// GrowError is a refusal to grow, in the terms that a waiting pod is told.
type GrowError struct {
	// Reason is a short sentence such as "quota: standardDSv5Family 96/100".
	Reason string
	// Changed is true when the pool was not as expected: look again at once.
	Changed bool
	// Fits is how many machines the refusal itself said are still to be had,
	// 0 if it did not say.
	Fits int
	// RetryAfter is how long to stay away; 0 leaves it to the caller.
	RetryAfter time.Duration
	// Err is the cloud's own error.
	Err error
}

func (e *GrowError) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the cloud's own error.
func (e *GrowError) Unwrap() error { return e.Err }
