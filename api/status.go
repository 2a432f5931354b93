package api

import (
	corev1 "k8s.io/api/core/v1"
)

// Status is what the leader publishes in StatusConfigMap for the webhook's
// warnings and for people.
type Status struct {
	Pools []PoolStatus `json:"pools"`
}

// PoolStatus describes one pool.
type PoolStatus struct {
	Name string `json:"name"`
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
	// BootSeconds is how long a machine takes from purchase to ready, learned.
	BootSeconds float64 `json:"bootSeconds,omitempty"`
	// State says what keeps the pool from growing; empty if nothing does.
	State string `json:"state,omitempty"`
}

// NodeShape is what the scheduler sees of a node.
type NodeShape struct {
	Labels      map[string]string   `json:"labels,omitempty"`
	Taints      []corev1.Taint      `json:"taints,omitempty"`
	Allocatable corev1.ResourceList `json:"allocatable"`
}
