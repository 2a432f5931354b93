package observer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

func TestMachines(t *testing.T) {
	event := func(kind emulator.EventKind, name string) emulator.Event {
		return emulator.Event{Time: at(1), Kind: kind, Set: "agents", ComputerName: name, VMID: name}
	}
	history := []emulator.Event{
		event(emulator.InstanceCreated, "agents000000"), event(emulator.InstanceCreated, "agents000001"),
		event(emulator.InstanceCreated, "agents00000A"), event(emulator.InstanceCreated, "agents00000B"),
		event(emulator.InstanceCreated, "agents00000C"), event(emulator.InstanceCreated, "agents00000D"),
		event(emulator.InstanceDeleting, "agents000000"), event(emulator.InstanceDeleted, "agents000000"),
		event(emulator.InstanceDeleting, "agents000001"),
	}
	o := New(nil, func() []emulator.Event { return history }, func(string) {})
	o.records.nodes = map[string]*node{
		"old": {name: "agents00000c", ready: at(1), gone: at(2)}, // another machine had the name
		"a":   {name: "agents00000a", ready: at(3)},
		"b":   {name: "agents00000b", ready: at(3), marked: true},
		"d":   {name: "agents00000d", ready: at(3), marked: true, committed: at(9)},
	}
	o.records.pods = map[string]*pod{
		"running": {node: "agents00000a", bound: at(4)},
		"second":  {node: "agents00000a", bound: at(4)},
		"done":    {node: "agents00000a", bound: at(4), done: at(5)},
		"gated":   {gated: true},
	}
	want := []Machine{
		{Name: "agents000001", Pool: "agents", State: Stopping},
		{Name: "agents00000a", Pool: "agents", State: Ready, Pods: 2},
		{Name: "agents00000b", Pool: "agents", State: Marked},
		{Name: "agents00000c", Pool: "agents", State: Booting},
		{Name: "agents00000d", Pool: "agents", State: Committed},
	}
	if diff := cmp.Diff(want, o.Machines()); diff != "" {
		t.Errorf("machines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"agents00000a", "agents00000b", "agents00000d"}, o.Nodes()); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}
