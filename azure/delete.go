package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// Delete deletes the instances of a pool in one call, after reading that each
// ID still has its VMID. If one has passed to another machine, nothing at all
// is deleted. Instances that are gone already count as deleted.
func (c *Cloud) Delete(ctx context.Context, pool string, refs []capacity.Ref) (func(context.Context) error, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("delete instances of %s: %w", pool, err)
	}
	m := conn.machine
	if err := m.guardOwn(pool); err != nil {
		return nil, err
	}
	unlock, err := c.locks.lock(ctx, "delete", pool)
	if err != nil {
		return nil, fmt.Errorf("delete instances of %s: %w", pool, err)
	}
	defer unlock()

	// Its turn comes before the read: what is deleted must be what was read.
	if err := c.updates.take(ctx, "changes", pool); err != nil {
		return nil, fmt.Errorf("delete instances of %s: %w", pool, err)
	}
	// One list costs Azure's read budget less than a read of each.
	present, err := c.list(ctx, conn, pool, nil)
	if err != nil {
		return nil, fmt.Errorf("delete instances of %s: %w", pool, err)
	}
	ids, err := stillThere(refs, present)
	if err != nil {
		return nil, fmt.Errorf("delete instances of %s: nothing was deleted: %w", pool, err)
	}
	if len(ids) == 0 {
		return func(context.Context) error { return nil }, nil
	}
	poller, err := conn.sets.BeginDeleteInstances(writing(ctx), m.ResourceGroup, pool, armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs{InstanceIDs: ids}, nil)
	if err = c.outcome(conn, actionDelete, err); err != nil {
		return nil, fmt.Errorf("delete instances of %s: %w", pool, err)
	}
	c.forgetUsages()
	wait := waiter(c, conn, actionDelete, poller)
	return func(ctx context.Context) error {
		if err := wait(ctx); err != nil {
			return fmt.Errorf("delete instances of %s: %w", pool, err)
		}
		return nil
	}, nil
}

// stillThere returns the IDs of those refs that are present, or an error if one
// of the IDs belongs to another VM now.
func stillThere(refs []capacity.Ref, present []*armcompute.VirtualMachineScaleSetVM) ([]*string, error) {
	byID := map[string]capacity.Instance{}
	for _, vm := range present {
		i := instance(vm)
		byID[i.ID] = i
	}
	var ids []*string
	for _, ref := range refs {
		if ref.ID == "" || ref.VMID == "" {
			return nil, fmt.Errorf("instance %q is named without ID or VMID (%q)", ref.ID, ref.VMID)
		}
		now, ok := byID[ref.ID]
		if !ok {
			continue
		}
		if !strings.EqualFold(now.VMID, ref.VMID) {
			return nil, fmt.Errorf("instance %s is VM %s now, not VM %s: list the instances again", ref.ID, now.VMID, ref.VMID)
		}
		ids = append(ids, &ref.ID)
	}
	return ids, nil
}
