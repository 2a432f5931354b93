package emulator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

type (
	setsClient = *armcompute.VirtualMachineScaleSetsClient
	vmsClient  = *armcompute.VirtualMachineScaleSetVMsClient
)

var polling = &runtime.PollUntilDoneOptions{Frequency: time.Second}

// resize sets the capacity and waits for the outcome.
func resize(ctx context.Context, sets setsClient, name string, n int64, etag *string) (armcompute.VirtualMachineScaleSet, error) {
	p, err := sets.BeginUpdate(ctx, group, name, armcompute.VirtualMachineScaleSetUpdate{
		SKU: &armcompute.SKU{Capacity: to.Ptr(n)},
	}, &armcompute.VirtualMachineScaleSetsClientBeginUpdateOptions{IfMatch: etag})
	if err != nil {
		return armcompute.VirtualMachineScaleSet{}, err
	}
	resp, err := p.PollUntilDone(ctx, polling)
	return resp.VirtualMachineScaleSet, err
}

func deleteInstances(ctx context.Context, sets setsClient, name string, ids ...string) error {
	p, err := sets.BeginDeleteInstances(ctx, group, name, armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs{InstanceIDs: to.SliceOfPtrs(ids...)}, nil)
	if err != nil {
		return err
	}
	_, err = p.PollUntilDone(ctx, polling)
	return err
}

// listVMs returns a line for each machine: ID, computer name and states.
func listVMs(t *testing.T, vms vmsClient, name string) []string {
	t.Helper()
	var lines []string
	pager := vms.NewListPager(group, name, &armcompute.VirtualMachineScaleSetVMsClientListOptions{Expand: to.Ptr("instanceView")})
	for pager.More() {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, vm := range page.Value {
			lines = append(lines, fmt.Sprintf("%s %s %s %s", *vm.InstanceID, *vm.Properties.OSProfile.ComputerName, *vm.Properties.ProvisioningState, *vm.Properties.InstanceView.Statuses[1].Code))
		}
	}
	return lines
}

// wantError checks an answer of ARM as the SDK's clients see it.
func wantError(t *testing.T, err error, status int, code, text string) {
	t.Helper()
	var resp *azcore.ResponseError
	if !errors.As(err, &resp) {
		t.Fatalf("got %v, want %d %s", err, status, code)
	}
	if resp.StatusCode != status || resp.ErrorCode != code || !strings.Contains(resp.Error(), text) {
		t.Errorf("got %d %s, want %d %s with %q:\n%v", resp.StatusCode, resp.ErrorCode, status, code, text, resp)
	}
}

// lifeOfASet grows a set and deletes by ID, with the SDK's clients.
func lifeOfASet(t *testing.T, w *world) {
	sets, vms := w.clients(t, nil)
	ctx := t.Context()
	before, err := sets.Get(ctx, group, "agents", nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := resize(ctx, sets, "agents", 3, before.Etag)
	if err != nil {
		t.Fatal(err)
	}
	if *set.SKU.Capacity != 3 || *set.Properties.ProvisioningState != "Succeeded" || *set.Etag == *before.Etag {
		t.Errorf("after growing: capacity %d, state %s, etag %s (was %s)", *set.SKU.Capacity, *set.Properties.ProvisioningState, *set.Etag, *before.Etag)
	}
	want := []string{
		"0 agents000000 Succeeded PowerState/running",
		"1 agents000001 Succeeded PowerState/running",
		"2 agents000002 Succeeded PowerState/running",
	}
	if diff := cmp.Diff(want, listVMs(t, vms, "agents")); diff != "" {
		t.Errorf("machines after growing (-want +got):\n%s", diff)
	}
	if err := deleteInstances(ctx, sets, "agents", "0", "1"); err != nil {
		t.Fatal(err)
	}
	after, err := sets.Get(ctx, group, "agents", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *after.SKU.Capacity != 1 || *after.Etag == *set.Etag {
		t.Errorf("after deleting two: capacity %d, want 1; etag %s, was %s", *after.SKU.Capacity, *after.Etag, *set.Etag)
	}
	if diff := cmp.Diff(want[2:], listVMs(t, vms, "agents")); diff != "" {
		t.Errorf("machines after deleting (-want +got):\n%s", diff)
	}
}

func TestLifeOfASet(t *testing.T) {
	t.Run("over TLS", func(t *testing.T) {
		lifeOfASet(t, served(t, emulator.Config{
			ScaleSets:  []emulator.ScaleSet{{Name: "agents", BootTime: emulator.Between(20*time.Millisecond, 40*time.Millisecond)}},
			DeleteTime: emulator.Between(10*time.Millisecond, 20*time.Millisecond),
		}))
	})
	t.Run("in virtual time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			lifeOfASet(t, virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}}))
		})
	})
}

func TestMachinesTakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{
			ScaleSets:  []emulator.ScaleSet{{Name: "agents", BootTime: emulator.Between(10*time.Second, 10*time.Second)}},
			DeleteTime: emulator.Between(2*time.Second, 2*time.Second),
		})
		sets, vms := w.clients(t, nil)
		if _, err := sets.BeginUpdate(t.Context(), group, "agents", armcompute.VirtualMachineScaleSetUpdate{SKU: &armcompute.SKU{Capacity: to.Ptr(int64(1))}}, nil); err != nil {
			t.Fatal(err)
		}
		state := func() string {
			set, err := sets.Get(t.Context(), group, "agents", nil)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%s %d %v", *set.Properties.ProvisioningState, *set.SKU.Capacity, listVMs(t, vms, "agents"))
		}
		check := func(when, want string) {
			t.Helper()
			if got := state(); got != want {
				t.Errorf("%s: got %s, want %s", when, got, want)
			}
		}
		check("at once", "Updating 1 [0 agents000000 Creating PowerState/starting]")
		time.Sleep(5 * time.Second)
		check("after half of the boot time", "Succeeded 1 [0 agents000000 Succeeded PowerState/running]")
		if _, err := sets.BeginDeleteInstances(t.Context(), group, "agents", armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs{InstanceIDs: to.SliceOfPtrs("0")}, nil); err != nil {
			t.Fatal(err)
		}
		check("deleted", "Updating 0 [0 agents000000 Deleting PowerState/stopping]")
		time.Sleep(2 * time.Second)
		check("after the deletion time", "Succeeded 0 []")
	})
}

func TestRefusals(t *testing.T) {
	cases := map[string]struct {
		call   func(ctx context.Context, sets setsClient, vms vmsClient) error
		status int
		code   string
		text   string
	}{
		"stale ETag": {
			call: func(ctx context.Context, sets setsClient, _ vmsClient) error {
				_, err := resize(ctx, sets, "agents", 2, to.Ptr(`"old"`))
				return err
			},
			status: http.StatusPreconditionFailed, code: "PreconditionFailed",
		},
		"no such set": {
			call: func(ctx context.Context, sets setsClient, _ vmsClient) error {
				_, err := sets.Get(ctx, group, "nowhere", nil)
				return err
			},
			status: http.StatusNotFound, code: "ResourceNotFound", text: "Microsoft.Compute/virtualMachineScaleSets/nowhere",
		},
		"no such group": {
			call: func(ctx context.Context, _ setsClient, vms vmsClient) error {
				_, err := vms.NewListPager("elsewhere", "agents", nil).NextPage(ctx)
				return err
			},
			// The role is at the group, so outside it nothing can be seen.
			status: http.StatusForbidden, code: "AuthorizationFailed", text: "resourceGroups/elsewhere",
		},
		"read of a machine that does not exist": {
			call: func(ctx context.Context, _ setsClient, vms vmsClient) error {
				_, err := vms.Get(ctx, group, "agents", "77", nil)
				return err
			},
			status: http.StatusNotFound, code: "NotFound", text: "77",
		},
		"deletion of a machine that does not exist": {
			call: func(ctx context.Context, sets setsClient, _ vmsClient) error {
				return deleteInstances(ctx, sets, "agents", "0", "77")
			},
			status: http.StatusBadRequest, code: "InvalidParameter", text: "The provided instanceId 77 is not an active",
		},
		"quota": {
			call: func(ctx context.Context, sets setsClient, _ vmsClient) error {
				_, err := resize(ctx, sets, "agents", 4, nil)
				return err
			},
			status: http.StatusConflict, code: "OperationNotAllowed",
			text: "exceeding approved standardDSv5Family Cores quota. Additional details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: 35, Current Usage: 12, Additional Required: 24, (Minimum) New Limit Required: 36",
		},
		"flexible set": {
			call: func(ctx context.Context, sets setsClient, _ vmsClient) error {
				_, err := resize(ctx, sets, "flex", 1, nil)
				return err
			},
			status: http.StatusConflict, code: "OperationNotAllowed", text: "Flexible",
		},
		"impossible capacity": {
			call: func(ctx context.Context, sets setsClient, _ vmsClient) error {
				_, err := resize(ctx, sets, "agents", 1001, nil)
				return err
			},
			status: http.StatusBadRequest, code: "InvalidParameter", text: "between 0 and 1000",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := virtual(t, emulator.Config{
					ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 1}, {Name: "flex", Flexible: true}},
					Quotas:    []emulator.Quota{{Family: "standardDSv5Family", Limit: 35, UsedElsewhere: 4}},
				})
				sets, vms := w.clients(t, nil)
				wantError(t, tc.call(t.Context(), sets, vms), tc.status, tc.code, tc.text)
				if got := listVMs(t, vms, "agents"); len(got) != 1 {
					t.Errorf("a refused call left %d machines, want 1", len(got))
				}
			})
		})
	}
}

// Another VM size is another model: machines that are there stay as they are.
func TestAnotherSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 1}}})
		sets, vms := w.clients(t, nil)
		change := func(size string, capacity int64) error {
			p, err := sets.BeginUpdate(t.Context(), group, "agents", armcompute.VirtualMachineScaleSetUpdate{
				SKU: &armcompute.SKU{Name: to.Ptr(size), Capacity: to.Ptr(capacity)},
			}, nil)
			if err != nil {
				return err
			}
			_, err = p.PollUntilDone(t.Context(), polling)
			return err
		}
		wantError(t, change("Standard_X1", 2), http.StatusBadRequest, "InvalidParameter", "Standard_X1")
		for _, size := range []string{"Standard_D16s_v5", "Standard_D16s_v5"} { // the second time it is no change
			if err := change(size, 2); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, vm := range w.cloud.VMs() {
			shown, err := vms.Get(t.Context(), group, "agents", vm.InstanceID, nil)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %d vCPU, latest model %t", *shown.SKU.Name, vm.Shape.VCPUs, *shown.Properties.LatestModelApplied))
		}
		want := []string{"Standard_D8s_v5 8 vCPU, latest model false", "Standard_D16s_v5 16 vCPU, latest model true"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("machines (-want +got):\n%s", diff)
		}
	})
}
