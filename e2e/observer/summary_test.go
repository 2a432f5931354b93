package observer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

var start = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// at is that many seconds after the start.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// good is a cluster in which one pod came, one machine was bought for it, and
// both went in good order.
func good() *records {
	return &records{
		pods: map[string]*pod{"p": {
			name: "work/p", gated: true, created: at(1), released: at(11.5), nominated: "agents000000", node: "agents000000",
			bound: at(11.6), running: at(12), done: at(20),
		}},
		nodes: map[string]*node{"n": {name: "agents000000", created: at(11), ready: at(11.3), committed: at(30), gone: at(35)}},
		history: []emulator.Event{
			{Time: at(1.2), Kind: emulator.CapacityChanged, How: emulator.ByPatch, Old: 0, New: 1, Set: "agents"},
			{Time: at(1.2), Kind: emulator.InstanceCreated, ComputerName: "AGENTS000000", VMID: "a"},
			{Time: at(31.2), Kind: emulator.CapacityChanged, How: emulator.ByDeleteInstances, Old: 1, New: 0, Set: "agents"},
			{Time: at(31.2), Kind: emulator.InstanceDeleting, How: emulator.ByDeleteInstances, ComputerName: "AGENTS000000", VMID: "a"},
			{Time: at(33), Kind: emulator.InstanceDeleted, How: emulator.ByDeleteInstances, ComputerName: "AGENTS000000", VMID: "a"},
		},
	}
}

func TestSummary(t *testing.T) {
	want := Summary{
		PodsGated: 1, PodsReleased: 1, PodsCompleted: 1, MachinesBought: 1, MachinesRetired: 1,
		GateToRequestMS: 200, ReadyToReleaseMS: 200, MachineSeconds: 30, BusyMachineSeconds: 8,
	}
	if diff := cmp.Diff(want, good().summarise(at(60))); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}

// TestWhatIsWrongIsSeen plants one wrong thing at a time.
func TestWhatIsWrongIsSeen(t *testing.T) {
	for name, tc := range map[string]struct {
		plant                    func(*records)
		killed, late, violations int
	}{
		"nothing":                               {plant: func(*records) {}},
		"the machine was deleted under the pod": {plant: func(r *records) { r.pods["p"].done = time.Time{} }, killed: 1, violations: 1},
		"the pod ended after its machine":       {plant: func(r *records) { r.pods["p"].done = at(32) }, killed: 1, violations: 1},
		"the pod failed":                        {plant: func(r *records) { r.pods["p"].failed = true }, killed: 1, violations: 1},
		"the pod was evicted":                   {plant: func(r *records) { r.pods["p"].evicted = true }, killed: 1, violations: 1},
		"the pod vanished":                      {plant: func(r *records) { r.pods["p"].done, r.pods["p"].gone = time.Time{}, at(15) }, killed: 1, violations: 1},
		"the pod was deleted at the gate": {plant: func(r *records) {
			r.pods["q"] = &pod{name: "work/q", gated: true, created: at(2), evicted: true, gone: at(3)}
		}, killed: 1, violations: 1},
		"the pod was bound after the commitment": {plant: func(r *records) { r.pods["p"].bound, r.pods["p"].done = at(30.5), at(31) }, late: 1, violations: 1},
		"the pod was bound after the deletion": {plant: func(r *records) {
			r.nodes["n"].committed = time.Time{}
			r.pods["p"].bound, r.pods["p"].done = at(31.5), at(31.6)
		}, late: 1, killed: 1, violations: 2},
		"the capacity was lowered": {plant: func(r *records) {
			r.history = append(r.history, emulator.Event{Time: at(40), Kind: emulator.CapacityChanged, How: emulator.ByPatch, Old: 3, New: 2})
		}, violations: 1},
		"the name is used again": {plant: func(r *records) {
			r.history = append(r.history, emulator.Event{Time: at(40), Kind: emulator.InstanceCreated, ComputerName: "AGENTS000000", VMID: "b"})
			r.nodes["n2"] = &node{name: "agents000000", created: at(45), ready: at(45)}
			r.pods["q"] = &pod{name: "work/q", node: "agents000000", bound: at(46), done: at(50)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			tc.plant(r)
			got := r.summarise(at(60))
			want := Summary{PodsKilled: tc.killed, LateBinds: tc.late}
			if diff := cmp.Diff(want, Summary{PodsKilled: got.PodsKilled, LateBinds: got.LateBinds}, cmpopts.EquateEmpty()); diff != "" || len(got.Violations) != tc.violations {
				t.Errorf("violations %q, want %d (-want +got):\n%s", got.Violations, tc.violations, diff)
			}
		})
	}
}

func TestBusyTimeIsNotCountedTwice(t *testing.T) {
	r := good()
	r.pods["q"] = &pod{name: "work/q", node: "agents000000", running: at(15), done: at(25)}
	r.pods["r"] = &pod{name: "work/r", node: "agents000000", running: at(28), done: at(29)}
	if got := r.summarise(at(60)).BusyMachineSeconds; got != 14 {
		t.Errorf("busy for %v s, want 14: from 12 to 25 and from 28 to 29", got)
	}
}
