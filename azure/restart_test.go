package azure

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

func TestRestart(t *testing.T) {
	for fate, disks := range map[api.Fate]int{api.FateRestart: 1, api.FateReimage: 2} {
		t.Run(string(fate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 3)}})
				refs := w.refs(t, "agents")
				wait, err := w.Restart(t.Context(), "agents", fate, refs[1:])
				if err != nil {
					t.Fatal(err)
				}
				if err := wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				var runs [][2]int
				for _, vm := range w.emulated.VMs() {
					runs = append(runs, [2]int{vm.Boots, vm.Disks})
				}
				if diff := cmp.Diff([][2]int{{1, 1}, {2, disks}, {2, disks}}, runs); diff != "" {
					t.Errorf("boots and disks (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(refs, w.refs(t, "agents")); diff != "" {
					t.Errorf("machines (-want +got):\n%s", diff)
				}
				if n := w.sent(http.MethodPost); n != 1 {
					t.Errorf("%d requests for two machines of a pool, want 1", n)
				}
			})
		})
	}
}

// A deallocated machine is off, counts as before, and runs again once it is
// started.
func TestDeallocateAndStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 2)}})
		refs := w.refs(t, "agents")
		finish := func(wait func(context.Context) error, err error) {
			t.Helper()
			if err == nil {
				err = wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		type state struct {
			capacity.InstanceState
			deallocated bool
		}
		states := func() []state {
			t.Helper()
			instances, err := w.Instances(t.Context(), "agents")
			if err != nil {
				t.Fatal(err)
			}
			var list []state
			for _, i := range instances {
				list = append(list, state{i.State, i.Deallocated})
			}
			return list
		}
		finish(w.Restart(t.Context(), "agents", api.FateDeallocate, refs[1:]))
		if diff := cmp.Diff([]state{{capacity.InstanceRunning, false}, {capacity.InstanceStopped, true}}, states(), cmp.AllowUnexported(state{})); diff != "" {
			t.Errorf("deallocated (-want +got):\n%s", diff)
		}
		if got := w.capacity(t, "agents"); got != 2 {
			t.Errorf("capacity %d, want 2 as before", got)
		}
		finish(w.Start(t.Context(), "agents", refs))
		if diff := cmp.Diff([]state{{capacity.InstanceRunning, false}, {capacity.InstanceRunning, false}}, states(), cmp.AllowUnexported(state{})); diff != "" {
			t.Errorf("started (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(refs, w.refs(t, "agents")); diff != "" {
			t.Errorf("machines (-want +got):\n%s", diff)
		}
	})
}

// What Azure refuses to start is told in a waiting pod's terms, at once or late; of
// what got no answer it is said that it may be carried out.
func TestStartRefused(t *testing.T) {
	late := emulator.Fault{Operation: actionStart, Effect: emulator.Effect{Late: emulator.LateAllocationFailure(time.Minute)}}
	const noRoom = "Azure has no room for this machine type in the region at present"
	for name, tc := range map[string]struct {
		fault    emulator.Fault
		want     string // the reason, "" if it is no refusal
		noAnswer bool
	}{
		"at once":         {fault: answer(actionStart, 409, "AllocationFailed", "No.", 0), want: noRoom},
		"late":            {fault: late, want: noRoom},
		"no answer":       {fault: emulator.Fault{Operation: actionStart, Effect: emulator.Effect{Drop: emulator.DropAfter}}, want: "Tidegate has no access to Azure", noAnswer: true},
		"rate limited":    {fault: answer(actionStart, 429, "TooManyRequests", "Slow down.", 60), want: "Azure limits the rate of requests"},
		"no such refusal": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
				wait, err := w.Restart(t.Context(), "agents", api.FateDeallocate, w.refs(t, "agents"))
				if err == nil {
					err = wait(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				refs := w.refs(t, "agents")
				if tc.fault.Operation != "" {
					w.emulated.AddFaults(tc.fault)
				} else {
					refs[0].VMID = "00000000-1111-4222-8333-444444444444"
				}
				wait, err = w.Start(t.Context(), "agents", refs)
				if err == nil {
					err = wait(t.Context())
				}
				reason := ""
				if refusal, ok := errors.AsType[*capacity.GrowError](err); ok {
					reason = refusal.Reason
				}
				if err == nil || reason != tc.want || errors.Is(err, capacity.ErrNoAnswer) != tc.noAnswer {
					t.Errorf("error %v with the reason %q, want the reason %q, and that it got no answer: %t", err, reason, tc.want, tc.noAnswer)
				}
				instances, err := w.Instances(t.Context(), "agents")
				if err != nil {
					t.Fatal(err)
				}
				if i := instances[0]; !tc.noAnswer && !(i.Off() && i.Deallocated) {
					t.Errorf("afterwards it is %s, deallocated: %t; want that it is off and deallocated as before", i.State, i.Deallocated)
				}
			})
		})
	}
}

// A machine is shown as changing for as long as Azure has not ended what it was
// asked for: it may yet happen.
func TestMachinesAreChangingUntilAzureHasDone(t *testing.T) {
	for name, endless := range map[string]bool{"it ends": false, "it never ends": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
				w.emulated.AddFaults(emulator.Fault{Operation: actionDeallocate, Effect: emulator.Effect{Endless: endless}})
				changing := func() bool {
					t.Helper()
					instances, err := w.Instances(t.Context(), "agents")
					if err != nil || len(instances) != 1 {
						t.Fatalf("instances %v, error %v", instances, err)
					}
					return instances[0].Changing
				}
				before := changing()
				if _, err := w.Restart(t.Context(), "agents", api.FateDeallocate, w.refs(t, "agents")); err != nil {
					t.Fatal(err)
				}
				meanwhile := changing()
				time.Sleep(time.Hour)
				if before || !meanwhile || changing() != endless {
					t.Errorf("changing before, meanwhile and an hour later: %t, %t, %t; want false, true, %t", before, meanwhile, changing(), endless)
				}
			})
		})
	}
}

// Nothing but the very machines that were named is ever restarted; to Azure a
// request without IDs would mean all of them.
func TestRestartsNoOtherMachine(t *testing.T) {
	const other = "00000000-1111-4222-8333-444444444444"
	for name, tc := range map[string]struct {
		refs []capacity.Ref
		fate api.Fate
		want string // of the error, "" for none
	}{
		"an ID that belongs to another VM now": {fate: api.FateRestart, refs: []capacity.Ref{{ID: "0", VMID: other}}, want: "nothing was done: instance 0 is VM"},
		"a machine that is gone":               {fate: api.FateRestart, refs: []capacity.Ref{{ID: "7", VMID: other}}},
		"no machine":                           {fate: api.FateReimage},
		"no such fate":                         {fate: api.FateDelete, refs: []capacity.Ref{{ID: "0", VMID: other}}, want: "neither a restart nor a reimage"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 2)}})
				wait, err := w.Restart(t.Context(), "agents", tc.fate, tc.refs)
				if wait != nil {
					t.Error("there is something to wait for although nothing was done")
				}
				if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Errorf("error %v, want one that says %q", err, tc.want)
				}
				if n := w.sent(http.MethodPost); n != 0 {
					t.Errorf("%d requests were sent, want none", n)
				}
			})
		})
	}
}

// Nothing is waited for where no machine is left to start.
func TestStartOfMachinesThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
		refs := w.refs(t, "agents")
		wait, err := w.Delete(t.Context(), "agents", refs)
		if err == nil {
			err = wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if wait, err = w.Start(t.Context(), "agents", refs); err != nil || wait != nil {
			t.Errorf("error %v, and something is waited for: %t; want neither", err, wait != nil)
		}
	})
}
