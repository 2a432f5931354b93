package azure

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// Restart restarts the instances of a pool, reimages or deallocates them, in one
// call, after reading that each ID still has its VMID. If one has passed to another machine,
// nothing at all is done. Instances that are gone are left out.
func (c *Cloud) Restart(ctx context.Context, pool string, fate api.Fate, refs []capacity.Ref) (func(context.Context) error, error) {
	switch fate {
	case api.FateRestart:
		return c.operate(ctx, pool, "restart", refs, func(ctx context.Context, conn *connection, ids []*string) (func(context.Context) error, error) {
			poller, err := conn.sets.BeginRestart(ctx, conn.machine.ResourceGroup, pool, &armcompute.VirtualMachineScaleSetsClientBeginRestartOptions{
				VMInstanceIDs: &armcompute.VirtualMachineScaleSetVMInstanceIDs{InstanceIDs: ids},
			})
			if err = c.outcome(conn, actionRestart, err); err != nil {
				return nil, err
			}
			return waiter(c, conn, actionRestart, poller), nil
		})
	case api.FateReimage:
		return c.operate(ctx, pool, "reimage", refs, func(ctx context.Context, conn *connection, ids []*string) (func(context.Context) error, error) {
			poller, err := conn.sets.BeginReimage(ctx, conn.machine.ResourceGroup, pool, &armcompute.VirtualMachineScaleSetsClientBeginReimageOptions{
				VMScaleSetReimageInput: &armcompute.VirtualMachineScaleSetReimageParameters{InstanceIDs: ids},
			})
			if err = c.outcome(conn, actionReimage, err); err != nil {
				return nil, err
			}
			return waiter(c, conn, actionReimage, poller), nil
		})
	case api.FateDeallocate:
		return c.operate(ctx, pool, "deallocate", refs, func(ctx context.Context, conn *connection, ids []*string) (func(context.Context) error, error) {
			poller, err := conn.sets.BeginDeallocate(ctx, conn.machine.ResourceGroup, pool, &armcompute.VirtualMachineScaleSetsClientBeginDeallocateOptions{
				VMInstanceIDs: &armcompute.VirtualMachineScaleSetVMInstanceIDs{InstanceIDs: ids},
			})
			if err = c.outcome(conn, actionDeallocate, err); err != nil {
				return nil, err
			}
			c.forgetUsages()
			return waiter(c, conn, actionDeallocate, poller), nil
		})
	}
	return nil, fmt.Errorf("restart instances of %s: %q is neither a restart nor a reimage nor a deallocation", pool, fate)
}

// Start starts deallocated instances of a pool in one call, after the same
// reading. One that runs already stays as it is. Azure may have no room for them,
// as for new ones: what it refuses, at once or late, is a *capacity.GrowError.
func (c *Cloud) Start(ctx context.Context, pool string, refs []capacity.Ref) (func(context.Context) error, error) {
	wait, err := c.operate(ctx, pool, "start", refs, func(ctx context.Context, conn *connection, ids []*string) (func(context.Context) error, error) {
		poller, err := conn.sets.BeginStart(ctx, conn.machine.ResourceGroup, pool, &armcompute.VirtualMachineScaleSetsClientBeginStartOptions{
			VMInstanceIDs: &armcompute.VirtualMachineScaleSetVMInstanceIDs{InstanceIDs: ids},
		})
		if err = c.outcome(conn, actionStart, err); err != nil {
			return nil, err
		}
		c.forgetUsages()
		return waiter(c, conn, actionStart, poller), nil
	})
	if err != nil || wait == nil {
		return nil, startRefusal(err, len(refs))
	}
	return func(ctx context.Context) error { return startRefusal(wait(ctx), len(refs)) }, nil
}

// startRefusal puts what Azure itself refuses into a waiting pod's terms.
func startRefusal(err error, machines int) error {
	_, refused := errors.AsType[*armError](err)
	if err == nil || !refused && !isAccess(err) && !isThrottled(err) {
		return err
	}
	return refusal(err, machines)
}
