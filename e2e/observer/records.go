// Package observer watches a cluster and an emulated Azure from outside and
// judges what became of the batch pods. It shares no code with Tidegate on
// purpose: what it says of Tidegate must not rest on Tidegate's own rules.
package observer

import (
	"time"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// The names that an outsider has to know. They are spelled here, and not taken
// from Tidegate, so that a wrong one there shows.
const (
	gateName           = "tidegate.io/capacity"
	gateAnnotation     = "tidegate.io/gate"
	markAnnotation     = "tidegate.io/retiring"
	deletingAnnotation = "tidegate.io/deleting"
	capacityCondition  = "tidegate.io/Capacity"
)

// Judged is an annotation of pods that did not opt in and are to be judged all
// the same.
const Judged = "e2e.tidegate.io/judged"

// pod is the story of one batch pod. Times are when the observer learned of
// it; zero means that it did not happen.
type pod struct {
	name                       string
	created, released          time.Time
	bound, running, done, gone time.Time
	gated                      bool // it was created with the gate
	failed                     bool // done, but not by success
	evicted                    bool // it was asked to go before it was done
	node, nominated            string
}

// node is the story of one node.
type node struct {
	name                            string
	created, ready, committed, gone time.Time
	marked                          bool
	rescues                         int
}

// records is everything that was seen.
type records struct {
	pods    map[string]*pod  // by UID
	nodes   map[string]*node // by UID
	history []emulator.Event
}

// Summary is what the records add up to.
type Summary struct {
	PodsGated          int     `json:"pods_gated"`
	PodsReleased       int     `json:"pods_released"`
	PodsCompleted      int     `json:"pods_completed"`
	MachinesBought     int     `json:"machines_bought"`
	MachinesRetired    int     `json:"machines_retired"`
	Rescues            int     `json:"rescues"`
	PodsKilled         int     `json:"pods_killed"`
	LateBinds          int     `json:"late_binds"`
	GateToRequestMS    int64   `json:"gate_to_request_ms_p50"`
	ReadyToReleaseMS   int64   `json:"ready_to_release_ms_p50"`
	MachineSeconds     float64 `json:"machine_seconds"`
	BusyMachineSeconds float64 `json:"busy_machine_seconds"`

	// Violations are what must never happen, in words.
	Violations []string `json:"-"`
}
