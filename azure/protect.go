package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// Protect changes whether Azure may choose the instance when it scales in by
// itself, after reading that the ID still has its VMID, and waits until that is
// so. Nothing else of the instance changes.
// Source: Azure documentation, "Instance Protection for Azure VM scale sets".
func (c *Cloud) Protect(ctx context.Context, pool string, ref capacity.Ref, protect bool) error {
	failed := func(err error) error { return fmt.Errorf("protect instance %s of %s: %w", ref.ID, pool, err) }
	conn, err := c.connect(ctx)
	if err != nil {
		return failed(err)
	}
	if err := conn.machine.guardOwn(pool); err != nil {
		return err
	}
	if err := c.updates.take(ctx, "changes", pool); err != nil {
		return failed(err)
	}
	if err := c.reads.take(ctx, "reads", pool); err != nil {
		return failed(err)
	}
	read, err := conn.vms.Get(ctx, conn.machine.ResourceGroup, pool, ref.ID, nil)
	if err = c.outcome(conn, actionReadInstances, err); err != nil {
		return failed(err)
	}
	vm := &read.VirtualMachineScaleSetVM
	if now := instance(vm); ref.VMID == "" || !strings.EqualFold(now.VMID, ref.VMID) {
		return failed(fmt.Errorf("it is VM %s now, not VM %s: nothing was done", now.VMID, ref.VMID))
	}
	policy := &armcompute.VirtualMachineScaleSetVMProtectionPolicy{ProtectFromScaleIn: to.Ptr(protect)}
	if was := vm.Properties.ProtectionPolicy; was != nil {
		policy.ProtectFromScaleSetActions = was.ProtectFromScaleSetActions
	}
	poller, err := conn.vms.BeginUpdate(writing(ctx), conn.machine.ResourceGroup, pool, ref.ID, armcompute.VirtualMachineScaleSetVM{
		Location:   vm.Location,
		Properties: &armcompute.VirtualMachineScaleSetVMProperties{ProtectionPolicy: policy},
	}, nil)
	if err = c.outcome(conn, actionWriteInstance, err); err != nil {
		return failed(err)
	}
	if err := waiter(c, conn, actionWriteInstance, poller)(ctx); err != nil {
		return failed(err)
	}
	return nil
}
