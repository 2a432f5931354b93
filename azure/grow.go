package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/capacity"
)

const (
	// growAttempts is how often a growth is submitted at most while Azure gives
	// no answer to it or something else changes the set in between.
	growAttempts = 3
	// growPause is how long Azure gets to carry out what it gave no answer to
	// before it is asked what became of it.
	growPause = 2 * time.Second
	// setPoll is the time between two looks at a set whose operation is not
	// known; they count against the set's reads.
	setPoll = 10 * time.Second
)

// Grow raises the capacity of a pool from one number to a larger one, on the
// condition that the set is still as a fresh read shows it. A submission without
// an answer is looked after before it is repeated. Every error, also that of the
// returned function, is a *capacity.GrowError.
func (c *Cloud) Grow(ctx context.Context, pool string, from, target int) (func(context.Context) error, error) {
	want := target - from
	if want <= 0 {
		return nil, &capacity.GrowError{Reason: fmt.Sprintf("%s was to grow from %d to %d, which is not growth", pool, from, target)}
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, refusal(err, want)
	}
	if err := conn.machine.guardOwn(pool); err != nil {
		return nil, &capacity.GrowError{Reason: "it is Tidegate's own scale set", Err: err}
	}
	unlock, err := c.locks.lock(ctx, "grow", pool)
	if err != nil {
		return nil, refusal(err, want)
	}
	defer unlock()

	var last error
	unanswered := false
	for attempt := 0; ; attempt++ {
		// Its turn comes before the read: what is written must be fresh.
		if attempt < growAttempts {
			if err := c.updates.take(ctx, "changes", pool); err != nil {
				return nil, refusal(err, want)
			}
		}
		set, refused := c.readForGrowth(ctx, conn, pool, want)
		if refused != nil {
			refused.Changed = refused.Changed || unanswered // nobody knows: look again
			return nil, refused
		}
		switch now := int(*set.SKU.Capacity); {
		case unanswered && now == target:
			// What got no answer was carried out. Its operation is not known, but
			// the set shows how it goes.
			return c.grown(want, c.watch(conn, pool)), nil
		case now != from:
			return nil, &capacity.GrowError{Reason: fmt.Sprintf("%s has a capacity of %d, not %d: someone else changed it", pool, now, from), Changed: true, Err: last}
		case attempt == growAttempts:
			return nil, refusal(last, want)
		}
		poller, err := conn.raise(ctx, pool, set, target)
		if last = c.outcome(conn, actionWriteSet, err); last == nil {
			return c.grown(want, waiter(c, conn, actionWriteSet, poller)), nil
		}
		switch {
		case noAnswer(err):
			unanswered = true
			if err := pause(ctx, growPause); err != nil {
				return nil, &capacity.GrowError{Reason: "the request was cut short", Changed: true, Err: err}
			}
		case !isStatus(err, http.StatusPreconditionFailed):
			return nil, refusal(last, want)
		}
	}
}

// readForGrowth reads the set anew, and refuses one that must not be changed.
func (c *Cloud) readForGrowth(ctx context.Context, conn *connection, pool string, want int) (*armcompute.VirtualMachineScaleSet, *capacity.GrowError) {
	set, err := c.get(ctx, conn, pool)
	if err != nil {
		return nil, refusal(err, want)
	}
	if why := refused(set); why != "" {
		return nil, &capacity.GrowError{Reason: why}
	}
	if set.SKU == nil || set.SKU.Capacity == nil || set.Etag == nil {
		return nil, &capacity.GrowError{Reason: "Azure shows no capacity or no ETag of " + pool + ": without them it is not changed"}
	}
	return set, nil
}

// get reads a set.
func (c *Cloud) get(ctx context.Context, conn *connection, pool string) (*armcompute.VirtualMachineScaleSet, error) {
	if err := c.reads.take(ctx, "reads", pool); err != nil {
		return nil, err
	}
	got, err := conn.sets.Get(ctx, conn.machine.ResourceGroup, pool, nil)
	if err = c.outcome(conn, actionReadSets, err); err != nil {
		return nil, err
	}
	return &got.VirtualMachineScaleSet, nil
}

// raise asks for a higher capacity. Only the capacity differs from what was
// read, and If-Match makes sure that it was read of the very set that is
// written, so this can never lower it.
func (conn *connection) raise(ctx context.Context, pool string, set *armcompute.VirtualMachineScaleSet, target int) (*runtime.Poller[armcompute.VirtualMachineScaleSetsClientUpdateResponse], error) {
	sku := *set.SKU
	sku.Capacity = to.Ptr(int64(target))
	return conn.sets.BeginUpdate(writing(ctx), conn.machine.ResourceGroup, pool,
		armcompute.VirtualMachineScaleSetUpdate{SKU: &sku},
		&armcompute.VirtualMachineScaleSetsClientBeginUpdateOptions{IfMatch: set.Etag})
}

// grown puts the outcome of an accepted growth into a waiting pod's terms.
func (c *Cloud) grown(want int, wait func(context.Context) error) func(context.Context) error {
	c.forgetUsages()
	return func(ctx context.Context) error {
		if err := wait(ctx); err != nil {
			return refusal(err, want)
		}
		return nil
	}
}

// watch returns a function that waits until no operation of the set is under
// way any longer.
func (c *Cloud) watch(conn *connection, pool string) func(context.Context) error {
	return func(ctx context.Context) error {
		err := await(ctx, setPoll, func() (bool, time.Duration, error) {
			set, err := c.get(ctx, conn, pool)
			if err != nil {
				return !passing(err), 0, err
			}
			return settled(set), 0, failed(set)
		})
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
}

// settled reports whether no operation of the set is under way.
func settled(set *armcompute.VirtualMachineScaleSet) bool {
	return ended(provisioningState(set))
}

// ended reports whether a provisioning state is one in which no operation is under way.
func ended(state string) bool {
	return slices.Contains([]string{"Succeeded", "Failed", "Canceled"}, state)
}

// failed is the error of a set whose last operation has failed, for reasons
// that the set does not show.
func failed(set *armcompute.VirtualMachineScaleSet) error {
	if state := provisioningState(set); state == "Failed" || state == "Canceled" {
		return &armError{status: http.StatusOK, code: "ProvisioningState/" + state, message: "the scale set does not show why"}
	}
	return nil
}

func provisioningState(set *armcompute.VirtualMachineScaleSet) string {
	if set.Properties == nil {
		return ""
	}
	return deref(set.Properties.ProvisioningState)
}

// isStatus reports whether Azure answered so, given the SDK's error.
func isStatus(err error, status int) bool {
	response, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && response.StatusCode == status
}

// noAnswer reports whether nobody knows if Azure carried out what it was asked
// for, given the SDK's error or what explain made of it.
func noAnswer(err error) bool {
	if response, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return faulty(response.StatusCode)
	}
	if e, ok := errors.AsType[*accessError](err); ok {
		return e.sent // else there is no token to ask with
	}
	return !isThrottled(err)
}
