package azure

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// Grow raises the capacity of a pool from one number to a larger one, on the
// condition that the set is still as a fresh read shows it. Every error, also
// that of the returned function, is a *capacity.GrowError.
func (c *Cloud) Grow(ctx context.Context, pool string, from, target int) (func(context.Context) error, error) {
	want := target - from
	if want <= 0 {
		return nil, &capacity.GrowError{Reason: fmt.Sprintf("%s was to grow from %d to %d, which is not growth", pool, from, target)}
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, refusal(err, want)
	}
	m := conn.machine
	if err := m.guardOwn(pool); err != nil {
		return nil, &capacity.GrowError{Reason: "it is Tidegate's own scale set", Err: err}
	}
	unlock, err := c.locks.lock(ctx, pool)
	if err != nil {
		return nil, refusal(err, want)
	}
	defer unlock()

	got, err := conn.sets.Get(ctx, m.ResourceGroup, pool, nil)
	if err = c.outcome(conn, actionReadSets, err); err != nil {
		return nil, refusal(err, want)
	}
	set := got.VirtualMachineScaleSet
	if why := refused(&set); why != "" {
		return nil, &capacity.GrowError{Reason: why}
	}
	if set.SKU == nil || set.SKU.Capacity == nil || set.Etag == nil {
		return nil, &capacity.GrowError{Reason: "Azure shows no capacity or no ETag of " + pool + ": without them it is not changed"}
	}
	if now := int(*set.SKU.Capacity); now != from {
		return nil, &capacity.GrowError{Reason: fmt.Sprintf("%s has a capacity of %d, not %d: someone else changed it", pool, now, from), Changed: true}
	}
	// Only the capacity differs from what was read, and If-Match makes sure
	// that it was read of the very set that is written: target > from = now, so
	// this can never lower it.
	sku := *set.SKU
	sku.Capacity = to.Ptr(int64(target))
	poller, err := conn.sets.BeginUpdate(ctx, m.ResourceGroup, pool,
		armcompute.VirtualMachineScaleSetUpdate{SKU: &sku},
		&armcompute.VirtualMachineScaleSetsClientBeginUpdateOptions{IfMatch: set.Etag})
	if err = c.outcome(conn, actionWriteSet, err); err != nil {
		return nil, refusal(err, want)
	}
	c.forgetUsages()
	wait := waiter(c, conn, actionWriteSet, poller)
	return func(ctx context.Context) error {
		if err := wait(ctx); err != nil {
			return refusal(err, want)
		}
		return nil
	}, nil
}
