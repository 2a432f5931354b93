package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/manager"
)

// MachineState is how far a machine's node is in its life.
type MachineState string

// The states of a machine that is a node, in the order of a retirement.
const (
	// NotReady is a node that its kubelet does not call ready.
	NotReady MachineState = "NotReady"
	// Outside is a node that belongs to no pool; it is never touched.
	Outside MachineState = "Outside"
	// Busy is a node with work, Idle one without.
	Busy MachineState = "Busy"
	Idle MachineState = "Idle"
	// Retiring is a marked node with work, Empty one without.
	Retiring MachineState = "Retiring"
	Empty    MachineState = "Empty"
	// Fenced is a node to which the API server binds nothing any more.
	Fenced MachineState = "Fenced"
	// Deleting is a node whose deletion is committed.
	Deleting MachineState = "Deleting"
	// Stopped is a node whose machine was retired by deallocating it.
	Stopped MachineState = "Stopped"
	// Restarting is a node whose machine is restarted or reimaged.
	Restarting MachineState = "Restarting"
)

// Machine is one node that may be a pool's machine.
type Machine struct {
	Name string `json:"name"`
	// Pool is "" for a node outside every pool.
	Pool  string       `json:"pool,omitempty"`
	State MachineState `json:"state"`
	// Pods counts the pods that keep the node from being empty.
	Pods int `json:"pods"`
	// Reason says why it is in this state, or what keeps it.
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
	VMID   string    `json:"vmID,omitempty"`
}

// machines reports every node but the cluster's servers, by pool and name.
func machines(c Cluster) []Machine {
	work := map[string][]*corev1.Pod{}
	for i := range c.Pods {
		p := &c.Pods[i]
		if p.Spec.NodeName != "" && manager.WorkOf(p).IsWork() {
			work[p.Spec.NodeName] = append(work[p.Spec.NodeName], p)
		}
	}
	found := []Machine{}
	for i := range c.Nodes {
		if n := &c.Nodes[i]; !api.IsServer(n) {
			found = append(found, machine(n, work[n.Name], manager.VolumeOn(n, c.Volumes)))
		}
	}
	slices.SortFunc(found, func(a, b Machine) int {
		return strings.Compare(a.Pool+"/"+a.Name, b.Pool+"/"+b.Name)
	})
	return found
}

func machine(n *corev1.Node, work []*corev1.Pod, volume string) Machine {
	m := Machine{
		Name: n.Name, Pool: n.Labels[api.PoolLabel], Pods: len(work),
		VMID: n.Annotations[api.VMIDAnnotation], Since: n.CreationTimestamp.Time,
	}
	retirement := api.RetirementOf(n)
	if retirement != nil {
		m.Since, m.Reason = retirement.Since.Time, retirement.Reason
		if retirement.EmptySince != nil {
			m.Since = retirement.EmptySince.Time
		}
	}
	ready := readyCondition(n)
	switch {
	case n.Annotations[api.DeletingAnnotation] != "":
		m.State = Deleting
	case api.RestartOf(n) != nil:
		m.State, m.Since = Restarting, api.RestartOf(n).Since.Time
		if r := api.RestartOf(n); r.Fate == api.FateDeallocate && r.Done != nil && r.Started == nil {
			m.State, m.Since = Stopped, r.Done.Time
		}
	case api.FenceToken(n) != "":
		m.State = Fenced
		if retirement != nil && retirement.FencedAt != nil {
			m.Since = retirement.FencedAt.Time
		}
	case retirement != nil && len(work) == 0:
		m.State = Empty
	case retirement != nil:
		m.State = Retiring
	case ready.Status != corev1.ConditionTrue:
		m.State, m.Since, m.Reason = NotReady, ready.LastTransitionTime.Time, ready.Message
		if len(work) > 0 {
			m.Reason = capacity.SilentText(m.Since, len(work))
		}
	case m.Pool == "":
		m.State, m.Reason = Outside, "belongs to no pool; Tidegate leaves it alone"
	default:
		m.State, m.Reason = staying(n, work, volume)
	}
	if announced := api.Interruptions(n); len(announced) > 0 {
		m.Reason = announced[0].String()
	}
	return m
}

// staying says of a node that is not marked whether it has work, and what keeps
// it from being retired.
func staying(n *corev1.Node, work []*corev1.Pod, volume string) (MachineState, string) {
	state := Busy
	if len(work) == 0 {
		state = Idle
	}
	if keep := api.KeepReason(n); keep != "" {
		return state, "kept: " + keep
	}
	switch fate, err := api.RetireRequest(n); {
	case err != nil:
		return state, err.Error()
	case fate != "":
		return state, "an operator asked to " + string(fate) + " its machine"
	}
	if volume != "" {
		return state, "kept: the data of volume " + volume + " are on its disk"
	}
	var pins []string
	for _, p := range work {
		if manager.WorkOf(p) == capacity.LongLived {
			pins = append(pins, p.Namespace+"/"+p.Name)
		}
	}
	slices.Sort(pins)
	switch len(pins) {
	case 0:
		if api.Outdated(n) {
			return state, "outdated: its machine lacks the scale set's latest model"
		}
		return state, ""
	case 1:
		return state, "pinned by pod " + pins[0] + ", which does not end by itself"
	}
	return state, fmt.Sprintf("pinned by %d pods that do not end by themselves, such as %s", len(pins), pins[0])
}

// readyCondition returns the node's condition Ready; its Message says so if
// there is none yet.
func readyCondition(n *corev1.Node) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c
		}
	}
	return corev1.NodeCondition{Message: "its kubelet has not reported yet", LastTransitionTime: n.CreationTimestamp}
}
