package api

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Status is what the leader publishes in StatusConfigMap for the webhook's
// warnings and for people.
type Status struct {
	Pools []PoolStatus `json:"pools"`
	// ObserveOnly is true while the leader acts on nothing.
	ObserveOnly bool `json:"observeOnly,omitempty"`
	// Problem says why the pools could not be read, "" if they could. Pools
	// then are as they were known last.
	Problem string `json:"problem,omitempty"`
	// GivenUp are the VMIDs of machines that never joined and whose deletion may be
	// under way, with the time when the cloud was last asked for it, null if it is yet
	// to be: no node that is one of them gets pods.
	GivenUp map[string]metav1.Time `json:"givenUp,omitempty"`
}

// ParseStatus reads what the leader published. A ConfigMap without a status is
// one that nobody has published in yet, not an error. With an error it returns
// what could be read all the same: another version may say one thing otherwise,
// and what it has learned of the pools is still good.
func ParseStatus(published *corev1.ConfigMap) (Status, error) {
	var status Status
	text := published.Data[StatusKey]
	if text == "" {
		return status, nil
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return status, fmt.Errorf("ConfigMap %s, key %s: %w", StatusConfigMap, StatusKey, err)
	}
	return status, nil
}

// ObserveOnly reports whether an operator has paused Tidegate by
// ObserveOnlyAnnotation. Whatever its value is, only "false" does not: on doubt
// nothing is done.
func ObserveOnly(published *corev1.ConfigMap) bool {
	value, ok := published.Annotations[ObserveOnlyAnnotation]
	return ok && value != "false"
}

// PoolStatus describes one pool.
type PoolStatus struct {
	Name string `json:"name"`
	// VMSize is the machine type of new machines.
	VMSize string `json:"vmSize,omitempty"`
	// Machines is the pool's capacity; Min and Max bound it.
	Machines int `json:"machines"`
	Min      int `json:"min"`
	Max      int `json:"max"`
	// Offers is what one machine has for pods, DaemonSets already deducted;
	// empty while unknown.
	Offers corev1.ResourceList `json:"offers,omitempty"`
	// Node is how a node of the pool looks to the scheduler, learned from the
	// last one seen; nil while unknown.
	Node *NodeShape `json:"node,omitempty"`
	// BootSeconds is how long a machine takes from purchase to ready, the
	// median of those seen.
	BootSeconds float64 `json:"bootSeconds,omitempty"`
	// SlowBootSeconds is what nine in ten machines needed at most.
	SlowBootSeconds float64 `json:"slowBootSeconds,omitempty"`
	// StartupTaint is true if the pool's nodes join with StartupTaint.
	StartupTaint bool `json:"startupTaint,omitempty"`
	// Joining are the VMIDs of machines that were watched since they were bought or
	// reimaged and have been no nodes since, and when that was.
	Joining map[string]metav1.Time `json:"joining,omitempty"`
	// Repairs are when machines of the pool were given up in the last hour because
	// they did not become ready nodes.
	Repairs []metav1.Time `json:"repairs,omitempty"`
	// Warning says what somebody else does to the pool, "" for nothing.
	Warning string `json:"warning,omitempty"`
	// State says what keeps the pool from growing; empty if nothing does.
	State string `json:"state,omitempty"`
}

// NodeShape is what the scheduler sees of a node.
type NodeShape struct {
	Labels      map[string]string   `json:"labels,omitempty"`
	Taints      []corev1.Taint      `json:"taints,omitempty"`
	Allocatable corev1.ResourceList `json:"allocatable"`
	// Volumes is what its volume drivers say, nil while that is unknown.
	Volumes *VolumeDrivers `json:"volumes,omitempty"`
}

// VolumeDrivers is what a node's CSINode says.
type VolumeDrivers struct {
	// Unknown is true while others may yet register.
	Unknown bool `json:"unknown,omitempty"`
	// Limits is how many volumes each driver can attach, -1 where it does not say.
	Limits map[string]int `json:"limits,omitempty"`
	// Topology are the labels by which the drivers say where the node is.
	Topology []string `json:"topology,omitempty"`
	// Moved are the built-in plugins that drivers have taken over.
	Moved []string `json:"moved,omitempty"`
}
