package observer

import (
	"slices"
	"strings"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// State is how far a machine has come.
type State string

// The states, in the order in which a machine passes through them.
const (
	Booting   State = "booting"
	Joined    State = "joined"
	Ready     State = "ready"
	Marked    State = "marked"
	Committed State = "committed"
	Stopping  State = "stopping"
)

// Machine is a machine that exists.
type Machine struct {
	// Name is that of its node; Pool that of its scale set.
	Name, Pool string
	State      State
	// Pods are the batch pods on it that are not done.
	Pods int
}

// Machines returns the machines that exist now, oldest first.
func (o *Observer) Machines() []Machine {
	o.mu.Lock()
	defer o.mu.Unlock()
	var machines []Machine
	for _, e := range o.history() {
		name := strings.ToLower(e.ComputerName)
		at := slices.IndexFunc(machines, func(m Machine) bool { return m.Name == name })
		switch {
		case e.Kind == emulator.InstanceCreated:
			machines = append(machines, Machine{Name: name, Pool: e.Set, State: Booting})
		case at < 0:
		case e.Kind == emulator.InstanceDeleting:
			machines[at].State = Stopping
		case e.Kind == emulator.InstanceDeleted, e.Kind == emulator.InstanceFailed:
			machines = slices.Delete(machines, at, at+1)
		}
	}
	for i := range machines {
		m := &machines[i]
		if m.State == Booting {
			m.State = o.records.state(m.Name)
		}
		for _, p := range o.records.pods {
			if p.node == m.Name && p.done.IsZero() && p.gone.IsZero() {
				m.Pods++
			}
		}
	}
	return machines
}

// state is what the node of that name says of its machine.
func (r *records) state(name string) State {
	for _, n := range r.nodes {
		switch {
		case n.name != name || !n.gone.IsZero():
		case !n.committed.IsZero():
			return Committed
		case n.marked:
			return Marked
		case !n.ready.IsZero():
			return Ready
		default:
			return Joined
		}
	}
	return Booting
}

// Nodes returns the names of the nodes that are there.
func (o *Observer) Nodes() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var names []string
	for _, n := range o.records.nodes {
		if n.gone.IsZero() {
			names = append(names, n.name)
		}
	}
	slices.Sort(names)
	return names
}
