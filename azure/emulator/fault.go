package emulator

import (
	"net/http"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names under which a Fault matches what is not an action of Azure's.
const (
	// BootOperation is the boot of a machine, also after a start or a restart.
	BootOperation = "boot"
	// IMDSInstance, IMDSToken and IMDSScheduledEvents are the IMDS endpoints;
	// "imds/*" is all of IMDS.
	IMDSInstance        = "imds/instance"
	IMDSToken           = "imds/token"
	IMDSScheduledEvents = "imds/scheduledevents"
)

// Fault is something that goes wrong: which operations it hits, how many of
// them, and what happens to each.
type Fault struct {
	// Operation is the name of an IMDS endpoint, BootOperation, or an action
	// such as "Microsoft.Compute/virtualMachineScaleSets/write"; "*" stands for
	// any text.
	Operation string `json:"operation"`
	// Set restricts the fault to one scale set; empty means all.
	Set string `json:"set,omitempty"`
	// Skip lets that many matching operations pass first.
	Skip int `json:"skip,omitempty"`
	// Count is how many operations are hit; 0 means all, until the faults are
	// cleared.
	Count int `json:"count,omitempty"`
	// Effect is what happens to them.
	Effect Effect `json:"effect"`
}

// Effect is what a Fault does to an operation. The fields can be combined.
type Effect struct {
	// Delay comes before everything else; a boot takes longer by it.
	Delay metav1.Duration `json:"delay,omitempty"`
	// Drop cuts the connection: DropBefore without having done what was asked,
	// DropAfter having done it.
	Drop Drop `json:"drop,omitempty"`
	// Error is answered at once, without having done what was asked.
	Error *Error `json:"error,omitempty"`
	// Late accepts the call and lets the long-running operation fail.
	Late *LateFailure `json:"late,omitempty"`
	// Endless accepts the call, and the operation never ends: machines stay
	// Creating, Deleting or Updating for ever.
	Endless bool `json:"endless,omitempty"`
	// Preempt lets a growth end the set's operations in progress as Canceled,
	// OperationPreempted. Their machines go on as they would have.
	Preempt bool `json:"preempt,omitempty"`
	// NeverJoin lets a machine be provisioned whose agent never runs.
	NeverJoin bool `json:"neverJoin,omitempty"`
}

// Drop says when a connection is cut.
type Drop string

// The moments of a Drop.
const (
	DropBefore Drop = "before"
	DropAfter  Drop = "after"
)

// LateFailure is the outcome of a long-running operation that fails. Machines
// that were to be created are created and fail; a deletion, a deallocation or a
// start that fails late leaves its machines and the capacity as they were, but that
// those which were to be started show that they failed.
type LateFailure struct {
	// After is how long the operation runs.
	After metav1.Duration `json:"after"`
	Error Error           `json:"error"`
	// KeepFailed leaves the new machines behind in the state Failed; without
	// it they vanish and the capacity falls back.
	KeepFailed bool `json:"keepFailed,omitempty"`
	// KeepCapacity lets no new machine ever be listed, and the capacity stay.
	KeepCapacity bool `json:"keepCapacity,omitempty"`
}

// LateAllocationFailure is the most common late failure: Azure has no room.
func LateAllocationFailure(after time.Duration) *LateFailure {
	return &LateFailure{
		After: metav1.Duration{Duration: after},
		Error: *failure(http.StatusConflict, "AllocationFailed", "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance"),
	}
}

type activeFault struct {
	Fault
	seen int
}

// AddFaults makes things go wrong, from the next operation on. Of several
// faults that match an operation the oldest that is not used up hits it.
func (c *Cloud) AddFaults(faults ...Fault) {
	c.begin()
	defer c.end()
	for _, f := range faults {
		c.faults = append(c.faults, &activeFault{Fault: f})
	}
}

// ClearFaults lets everything go well again.
func (c *Cloud) ClearFaults() {
	c.begin()
	defer c.end()
	c.faults = nil
}

// takeFault returns what goes wrong with an operation. The caller holds c.mu.
func (c *Cloud) takeFault(operation, set string) Effect {
	for _, f := range c.faults {
		if !wildcard(f.Operation, operation) || f.Set != "" && f.Set != set {
			continue
		}
		f.seen++
		if f.seen <= f.Skip {
			continue
		}
		if f.Count > 0 && f.seen == f.Skip+f.Count {
			c.faults = slices.DeleteFunc(c.faults, func(other *activeFault) bool { return other == f })
		}
		return f.Effect
	}
	return Effect{}
}
