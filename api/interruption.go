package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Interruption is something that the cloud will do to machines at a time of
// its own choice, and that ends what runs on them.
type Interruption struct {
	// ID names the cloud's event.
	ID string `json:"id"`
	// Type is one of the Interruption constants.
	Type string `json:"type"`
	// Resources are the machines that the event covers, sorted, as the cloud
	// spells them. An approval holds for all of them.
	Resources []string `json:"resources"`
	// NotBefore is when it happens at the earliest, unless it is approved before.
	NotBefore metav1.Time `json:"notBefore"`
}

// The types of interruption. Azure's Freeze is none: the machine pauses for a
// few seconds and loses nothing.
// Source: Azure documentation, "Scheduled Events for Linux VMs".
const (
	// InterruptionPreempt takes a Spot machine away, after 30 s.
	InterruptionPreempt = "Preempt"
	// InterruptionTerminate deletes a machine because somebody asked for it.
	InterruptionTerminate = "Terminate"
	// InterruptionRedeploy moves a machine to other hardware.
	InterruptionRedeploy = "Redeploy"
	// InterruptionReboot restarts a machine.
	InterruptionReboot = "Reboot"
)

// Interrupts reports whether an event of that type ends what runs on a machine.
func Interrupts(eventType string) bool {
	return eventType == InterruptionPreempt || eventType == InterruptionTerminate || Returns(eventType)
}

// Returns reports whether the machine, and with it its node, comes back after
// an event of that type.
func Returns(eventType string) bool {
	return eventType == InterruptionRedeploy || eventType == InterruptionReboot
}

// Covers reports whether the machine of that name is among the resources.
func (i Interruption) Covers(machine string) bool {
	return slices.ContainsFunc(i.Resources, func(r string) bool { return strings.EqualFold(r, machine) })
}

// overdueAfter is how long an interruption counts after its time. Azure may be
// late by minutes; after an hour whoever should have taken the report back is
// gone, and a node must not stay closed for ever.
const overdueAfter = time.Hour

// CountsUntil is when the interruption no longer counts although its report is
// still there.
func (i Interruption) CountsUntil() time.Time { return i.NotBefore.Add(overdueAfter) }

// String says it in a few words for people.
func (i Interruption) String() string {
	return "Azure announces: " + i.Type + ", not before " + i.NotBefore.UTC().Format("15:04:05 MST")
}

// Same reports whether both say word for word the same.
func (i Interruption) Same(other Interruption) bool {
	return i.ID == other.ID && i.Type == other.Type && i.NotBefore.Equal(&other.NotBefore) && slices.Equal(i.Resources, other.Resources)
}

// EncodeInterruptions returns the annotation value, "" for none.
func EncodeInterruptions(list []Interruption) string {
	if len(list) == 0 {
		return ""
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(fmt.Sprintf("encode interruptions %+v: %v", list, err)) // strings and times always encode
	}
	return string(b)
}

// Interruptions returns what the node's agent reports. A value that cannot be
// read, or an entry that is none, counts as not said.
func Interruptions(node *corev1.Node) []Interruption {
	return interruptionsIn(node, InterruptionsAnnotation)
}

// ApprovedInterruptions returns which of the node's interruptions need not
// wait any longer.
func ApprovedInterruptions(node *corev1.Node) []Interruption {
	return interruptionsIn(node, ApprovedAnnotation)
}

func interruptionsIn(node *corev1.Node, annotation string) []Interruption {
	v, ok := node.Annotations[annotation]
	if !ok {
		return nil
	}
	var list []Interruption
	if err := json.Unmarshal([]byte(v), &list); err != nil {
		return nil
	}
	list = slices.DeleteFunc(list, func(i Interruption) bool {
		return i.ID == "" || !Interrupts(i.Type) || i.NotBefore.IsZero()
	})
	if len(list) == 0 {
		return nil
	}
	return list
}

// Interrupted reports whether the node's machine is about to be interrupted.
func Interrupted(node *corev1.Node, now time.Time) bool {
	return slices.ContainsFunc(Interruptions(node), func(i Interruption) bool { return now.Before(i.CountsUntil()) })
}
