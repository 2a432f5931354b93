package emulator

import (
	"slices"
	"time"
)

// EventKind says what an Event records.
type EventKind string

// The kinds of events.
const (
	// CapacityChanged: a set's capacity went from Old to New.
	CapacityChanged EventKind = "capacity"
	// InstanceCreated: an instance exists and is being provisioned.
	InstanceCreated EventKind = "created"
	// InstanceProvisioned: Azure reports the instance as provisioned.
	InstanceProvisioned EventKind = "provisioned"
	// InstanceBooted: the agent on the instance runs.
	InstanceBooted EventKind = "booted"
	// InstanceFailed: Azure could not provision the instance.
	InstanceFailed EventKind = "failed"
	// InstanceDeleting: a deletion was accepted, and any notice of it is over;
	// the machine stops now.
	InstanceDeleting EventKind = "deleting"
	// InstanceDeleted: the instance no longer exists.
	InstanceDeleted EventKind = "deleted"
	// InstanceStopping: a deallocation was accepted; the machine stops now.
	InstanceStopping EventKind = "stopping"
	// InstanceStarting: a start, restart or reimage was accepted.
	InstanceStarting EventKind = "starting"
	// EventApproved: a machine that a scheduled event lists need not wait for
	// its time; one Event for each machine.
	EventApproved EventKind = "approved"
)

// How says what caused an Event.
type How string

// The causes.
const (
	// ByPatch: a PATCH of the scale set.
	ByPatch How = "patch"
	// ByDeleteInstances: a deletion by instance ID.
	ByDeleteInstances How = "deleteInstances"
	// ByScaleIn: Azure chose the victim because the capacity was lowered.
	ByScaleIn How = "scaleIn"
	// ByAllocation: Azure could not allocate the machine.
	ByAllocation How = "allocation"
	// ByAction: deallocate, start, restart or reimage of an instance.
	ByAction How = "action"
	// ByScheduledEvent: a scheduled event took the machine.
	ByScheduledEvent How = "scheduledEvent"
)

// Event is one entry of the history.
type Event struct {
	// Time of the event, to the emulator's clock.
	Time time.Time `json:"time"`
	Kind EventKind `json:"kind"`
	// Set is the name of the scale set.
	Set string `json:"set"`
	// InstanceID, ComputerName and VMID name the machine, if it is about one.
	InstanceID   string `json:"instanceId,omitempty"`
	ComputerName string `json:"computerName,omitempty"`
	VMID         string `json:"vmId,omitempty"`
	// By is the name of the identity that asked, or empty for Azure itself.
	By  string `json:"by,omitempty"`
	How How    `json:"how,omitempty"`
	// Old and New are the capacity before and after, for CapacityChanged.
	Old int `json:"old,omitempty"`
	New int `json:"new,omitempty"`
}

// History returns everything that has happened, oldest first.
func (c *Cloud) History() []Event {
	c.begin()
	defer c.end()
	return slices.Clone(c.history)
}

// record adds an event about an instance.
func (c *Cloud) record(kind EventKind, i *instance, by string, how How) {
	c.history = append(c.history, Event{Time: c.now, Kind: kind, Set: i.set.Name, InstanceID: i.id, ComputerName: i.computerName, VMID: i.vmID, By: by, How: how})
}

// setCapacity changes a set's capacity and records it; it is a write, so the
// ETag changes with it.
func (c *Cloud) setCapacity(s *scaleSet, n int, by string, how How) {
	s.etag = c.newETag()
	if n == s.capacity {
		return
	}
	c.history = append(c.history, Event{Time: c.now, Kind: CapacityChanged, Set: s.Name, By: by, How: how, Old: s.capacity, New: n})
	s.capacity = n
}
