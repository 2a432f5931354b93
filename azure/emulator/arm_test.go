package emulator_test

import (
	"context"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

var polling = &runtime.PollUntilDoneOptions{Frequency: time.Second}

// resize sets the capacity and waits for the outcome.
func resize(ctx context.Context, sets *armcompute.VirtualMachineScaleSetsClient, name string, n int64, etag *string) (*armcompute.VirtualMachineScaleSet, error) {
	p, err := sets.BeginUpdate(ctx, group, name, armcompute.VirtualMachineScaleSetUpdate{
		SKU: &armcompute.SKU{Capacity: to.Ptr(n)},
	}, &armcompute.VirtualMachineScaleSetsClientBeginUpdateOptions{IfMatch: etag})
	if err != nil {
		return nil, err
	}
	resp, err := p.PollUntilDone(ctx, polling)
	return &resp.VirtualMachineScaleSet, err
}

func deleteInstances(ctx context.Context, sets *armcompute.VirtualMachineScaleSetsClient, name string, ids ...string) error {
	p, err := sets.BeginDeleteInstances(ctx, group, name, armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs{InstanceIDs: to.SliceOfPtrs(ids...)}, nil)
	if err != nil {
		return err
	}
	_, err = p.PollUntilDone(ctx, polling)
	return err
}

func listVMs(t *testing.T, vms *armcompute.VirtualMachineScaleSetVMsClient, name string) []*armcompute.VirtualMachineScaleSetVM {
	t.Helper()
	var all []*armcompute.VirtualMachineScaleSetVM
	pager := vms.NewListPager(group, name, &armcompute.VirtualMachineScaleSetVMsClientListOptions{Expand: to.Ptr("instanceView")})
	for pager.More() {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Value...)
	}
	return all
}

func TestGrowAndDeleteByID(t *testing.T) {
	s := start(t, fast(emulator.ScaleSet{Name: "agents"}))
	sets, vms := clients(t, s)
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
	var names []string
	for _, vm := range listVMs(t, vms, "agents") {
		names = append(names, *vm.InstanceID+" "+*vm.Properties.OSProfile.ComputerName+" "+*vm.Properties.ProvisioningState+" "+*vm.Properties.InstanceView.Statuses[1].Code)
	}
	want := []string{
		"0 agents000000 Succeeded PowerState/running",
		"1 agents000001 Succeeded PowerState/running",
		"2 agents000002 Succeeded PowerState/running",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}

	if err := deleteInstances(ctx, sets, "agents", "0", "1"); err != nil {
		t.Fatal(err)
	}
	after, err := sets.Get(ctx, group, "agents", nil)
	if err != nil {
		t.Fatal(err)
	}
	if left := listVMs(t, vms, "agents"); len(left) != 1 || *left[0].InstanceID != "2" || *after.SKU.Capacity != 1 {
		t.Errorf("after deleting 0 and 1: %d instances, capacity %d", len(left), *after.SKU.Capacity)
	}
}
