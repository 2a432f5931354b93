package azure

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// Delete deletes the instances of a pool in one call, after reading that each
// ID still has its VMID. If one has passed to another machine, nothing at all
// is deleted. Instances that are gone already count as deleted.
func (c *Cloud) Delete(ctx context.Context, pool string, refs []capacity.Ref) (func(context.Context) error, error) {
	return c.operate(ctx, pool, "delete", refs, func(ctx context.Context, conn *connection, ids []*string) (func(context.Context) error, error) {
		poller, err := conn.sets.BeginDeleteInstances(ctx, conn.machine.ResourceGroup, pool, armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs{InstanceIDs: ids}, nil)
		if err = c.outcome(conn, actionDelete, err); err != nil {
			return nil, err
		}
		c.forgetUsages()
		return waiter(c, conn, actionDelete, poller), nil
	})
}
