package api

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fate is what becomes of a node's machine once the node is empty.
type Fate string

// The fates of a machine. After a restart or a reimage the node is back, after a
// deallocation once the machine is started again.
const (
	FateDelete     Fate = "delete"
	FateRestart    Fate = "restart"
	FateReimage    Fate = "reimage"
	FateDeallocate Fate = "deallocate"
)

// RetireRequest returns what an operator asks to become of the node's machine
// as soon as the node is empty, "" for nothing. A bad value is an error and asks
// for nothing.
func RetireRequest(node *corev1.Node) (Fate, error) {
	switch v := node.Annotations[RetireAnnotation]; v {
	case "", "false":
		return "", nil
	case "true", string(FateDelete):
		return FateDelete, nil
	case string(FateRestart), string(FateReimage):
		return Fate(v), nil
	default:
		return "", fmt.Errorf("annotation %s=%q: want %q, %q or %q", RetireAnnotation, v, FateDelete, FateRestart, FateReimage)
	}
}

// Restart is the value of RestartingAnnotation: a machine that is restarted,
// reimaged or deallocated, for a restarted manager to go on from.
type Restart struct {
	// Fate is FateRestart, FateReimage or FateDeallocate.
	Fate Fate `json:"fate"`
	// VMID is the machine that it was committed for.
	VMID string `json:"vmid"`
	// BootID is that of the machine's run before: another one shows that it was
	// restarted.
	BootID string `json:"bootID"`
	// Since is when it was committed.
	Since metav1.Time `json:"since"`
	// Asked is when the cloud was asked for it last; nil before. One request at a
	// time may be on its way.
	Asked *metav1.Time `json:"asked,omitempty"`
	// Done is when the cloud had carried it out; nil before.
	Done *metav1.Time `json:"done,omitempty"`
	// Started is when a deallocated machine was to be started again; nil before.
	Started *metav1.Time `json:"started,omitempty"`
}

// RestartOf returns the node's commitment to a restart, nil if it has none. A
// value that cannot be read commits to nothing that any machine fits.
func RestartOf(node *corev1.Node) *Restart {
	v, ok := node.Annotations[RestartingAnnotation]
	if !ok {
		return nil
	}
	var r Restart
	if err := json.Unmarshal([]byte(v), &r); err != nil {
		return &Restart{}
	}
	return &r
}

// Encode returns the annotation value.
func (r Restart) Encode() string {
	b, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("encode restart %+v: %v", r, err)) // strings and times always encode
	}
	return string(b)
}
