package emulator_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// capacityOf returns a set's capacity and its provisioning state.
func capacityOf(t *testing.T, sets setsClient, name string) (int64, string) {
	t.Helper()
	set, err := sets.Get(t.Context(), group, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return *set.SKU.Capacity, *set.Properties.ProvisioningState
}

func TestEndlessOperations(t *testing.T) {
	const deleteAction = "Microsoft.Compute/virtualMachineScaleSets/delete/action"
	cases := map[string]struct {
		operation string
		do        func(context.Context, setsClient) error
		capacity  int64
		left      []string
	}{
		"growth": {
			operation: anyWrite,
			do: func(ctx context.Context, sets setsClient) error {
				_, err := resize(ctx, sets, "agents", 2, nil)
				return err
			},
			capacity: 2,
			left:     []string{"0 agents000000 Succeeded PowerState/running", "1 agents000001 Creating PowerState/starting"},
		},
		"deletion": {
			operation: deleteAction,
			do:        func(ctx context.Context, sets setsClient) error { return deleteInstances(ctx, sets, "agents", "0") },
			left:      []string{"0 agents000000 Deleting PowerState/stopping"},
		},
		"restart": {
			operation: "Microsoft.Compute/virtualMachineScaleSets/restart/action",
			do: func(ctx context.Context, sets setsClient) error {
				p, err := sets.BeginRestart(ctx, group, "agents", &armcompute.VirtualMachineScaleSetsClientBeginRestartOptions{VMInstanceIDs: &armcompute.VirtualMachineScaleSetVMInstanceIDs{InstanceIDs: to.SliceOfPtrs("0")}})
				if err != nil {
					return err
				}
				_, err = p.PollUntilDone(ctx, polling)
				return err
			},
			capacity: 1,
			left:     []string{"0 agents000000 Updating PowerState/starting"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 1}}})
				sets, vms := w.clients(t, nil)
				w.cloud.AddFaults(emulator.Fault{Operation: tc.operation, Count: 1, Effect: emulator.Effect{Endless: true}})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				if err := tc.do(ctx, sets); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the operation ended: %v", err)
				}
				if n, state := capacityOf(t, sets, "agents"); n != tc.capacity || state != "Updating" {
					t.Errorf("capacity %d, state %s, want %d and Updating", n, state, tc.capacity)
				}
				if diff := cmp.Diff(tc.left, listVMs(t, vms, "agents")); diff != "" {
					t.Errorf("machines (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A newer growth ends the older one, whose machines come all the same.
func TestPreemption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}})
		sets, vms := w.clients(t, nil)
		w.cloud.AddFaults(emulator.Fault{Operation: anyWrite, Skip: 1, Count: 1, Effect: emulator.Effect{Preempt: true}})
		older := make(chan error)
		go func() {
			_, err := resize(t.Context(), sets, "agents", 1, nil)
			older <- err
		}()
		time.Sleep(time.Second)
		if _, err := resize(t.Context(), sets, "agents", 2, nil); err != nil {
			t.Errorf("the newer growth: %v", err)
		}
		wantError(t, <-older, http.StatusOK, "OperationPreempted", "Canceled")
		want := []string{"0 agents000000 Succeeded PowerState/running", "1 agents000001 Succeeded PowerState/running"}
		if diff := cmp.Diff(want, listVMs(t, vms, "agents")); diff != "" {
			t.Errorf("machines (-want +got):\n%s", diff)
		}
	})
}

func TestCapacityWithoutMachines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}})
		sets, vms := w.clients(t, nil)
		late := emulator.LateAllocationFailure(time.Minute)
		late.KeepCapacity = true
		w.cloud.AddFaults(emulator.Fault{Operation: anyWrite, Count: 1, Effect: emulator.Effect{Late: late}})
		_, err := resize(t.Context(), sets, "agents", 3, nil)
		wantError(t, err, http.StatusOK, "AllocationFailed", "")
		if n, state := capacityOf(t, sets, "agents"); n != 3 || state != "Failed" {
			t.Errorf("capacity %d, state %s, want 3 and Failed", n, state)
		}
		if left := listVMs(t, vms, "agents"); len(left) > 0 {
			t.Errorf("machines %v, want none", left)
		}
	})
}

func TestRemovedSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o observer
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 1}}, Observers: []emulator.Observer{&o}})
		sets, _ := w.clients(t, nil)
		growth := make(chan error)
		go func() {
			_, err := resize(t.Context(), sets, "agents", 2, nil)
			growth <- err
		}()
		time.Sleep(time.Second)
		w.cloud.RemoveSet("Agents")
		w.cloud.RemoveSet("unknown")
		wantError(t, <-growth, http.StatusOK, "ResourceNotFound", "agents")
		_, err := sets.Get(t.Context(), group, "agents", nil)
		wantError(t, err, http.StatusNotFound, "ResourceNotFound", "")
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"boot agents000000", "gone agents000000"}, o.seen); diff != "" {
			t.Errorf("what the observer was told (-want +got):\n%s", diff)
		}
	})
}

// Instance IDs and computer names come back; VMIDs never do.
func TestReusedIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 3, ReuseIDs: true}}})
		sets, _ := w.clients(t, nil)
		before := w.cloud.VMs()[1]
		if err := deleteInstances(t.Context(), sets, "agents", "1"); err != nil {
			t.Fatal(err)
		}
		if _, err := resize(t.Context(), sets, "agents", 4, nil); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, vm := range w.cloud.VMs() {
			names = append(names, vm.InstanceID+" "+vm.ComputerName)
			if vm.InstanceID == "1" && vm.VMID == before.VMID {
				t.Error("the new machine has the VMID of the one that is gone")
			}
		}
		if diff := cmp.Diff([]string{"0 agents000000", "2 agents000002", "1 agents000001", "3 agents000003"}, names); diff != "" {
			t.Errorf("machines (-want +got):\n%s", diff)
		}
	})
}

// Protection keeps Azure from choosing a machine, but nobody from deleting it.
func TestProtection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 3}}})
		sets, vms := w.clients(t, nil)
		for _, id := range []string{"1", "2"} {
			p, err := vms.BeginUpdate(t.Context(), group, "agents", id, armcompute.VirtualMachineScaleSetVM{
				Properties: &armcompute.VirtualMachineScaleSetVMProperties{
					ProtectionPolicy: &armcompute.VirtualMachineScaleSetVMProtectionPolicy{ProtectFromScaleIn: to.Ptr(true)},
				},
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.PollUntilDone(t.Context(), polling); err != nil {
				t.Fatal(err)
			}
		}
		vm, err := vms.Get(t.Context(), group, "agents", "2", nil)
		if err != nil || vm.Properties.ProtectionPolicy == nil || !*vm.Properties.ProtectionPolicy.ProtectFromScaleIn {
			t.Errorf("the policy is not shown: %+v, %v", vm.Properties, err)
		}
		if _, err := resize(t.Context(), sets, "agents", 0, nil); err != nil {
			t.Fatal(err)
		}
		if n, _ := capacityOf(t, sets, "agents"); n != 2 {
			t.Errorf("capacity %d, want the 2 that are protected", n)
		}
		if err := deleteInstances(t.Context(), sets, "agents", "1"); err != nil {
			t.Fatal(err)
		}
		want := []string{"2 agents000002 Succeeded PowerState/running"}
		if diff := cmp.Diff(want, listVMs(t, vms, "agents")); diff != "" {
			t.Errorf("machines (-want +got):\n%s", diff)
		}
	})
}
