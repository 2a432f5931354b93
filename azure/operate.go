package azure

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// freshFor is how old a list may be that an operation goes by: no machine is
// deleted, and another one bought that gets its ID, boots, joins and is given work,
// in that time and what a request takes.
const freshFor = 20 * time.Second

// operation begins something on the instances with these IDs, at least one, and
// returns a function that waits for its outcome.
type operation func(ctx context.Context, conn *connection, ids []*string) (func(context.Context) error, error)

// operate does something to instances of a pool in one call, after reading that
// each ID still has its VMID. If one has passed to another machine, nothing at
// all is done. Instances that are gone are left out; if all are, there is nothing to
// wait for, and no function to do so.
func (c *Cloud) operate(ctx context.Context, pool, verb string, refs []capacity.Ref, begin operation) (func(context.Context) error, error) {
	failed := func(err error) error { return fmt.Errorf("%s instances of %s: %w", verb, pool, err) }
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, failed(err)
	}
	if err := conn.machine.guardOwn(pool); err != nil {
		return nil, err
	}
	unlock, err := c.locks.lock(ctx, verb, pool)
	if err != nil {
		return nil, failed(err)
	}
	defer unlock()

	// Its turn comes before the read: what is acted on must be what was read.
	if err := c.updates.take(ctx, "changes", pool); err != nil {
		return nil, failed(err)
	}
	// One list costs Azure's read budget less than a read of each. The turn of all of it
	// comes first, too: by the end of one of which each page waits for its own, among
	// all others' reads, the beginning is old.
	due, err := c.reads.takeAll(ctx, "reads", pool, c.pagesOf(pool))
	if err != nil {
		return nil, failed(err)
	}
	began := time.Now()
	present, err := c.list(ctx, conn, pool, nil, due)
	if err != nil {
		return nil, failed(err)
	}
	if took := time.Since(began); took > freshFor {
		return nil, failed(fmt.Errorf("nothing was done: to read the instances took %s, and by now their IDs may be others'", took.Round(time.Second)))
	}
	ids, err := stillThere(refs, present)
	if err != nil {
		return nil, failed(fmt.Errorf("nothing was done: %w", err))
	}
	if len(ids) == 0 { // to Azure no IDs would mean all
		return nil, nil
	}
	// From here on no answer means that nobody knows whether it is carried out.
	asked := func(err error) error {
		if noAnswer(err) {
			err = fmt.Errorf("%w: %w", capacity.ErrNoAnswer, err)
		}
		return failed(err)
	}
	wait, err := begin(writing(ctx), conn, ids)
	if err != nil {
		return nil, asked(err)
	}
	return func(ctx context.Context) error {
		if err := wait(ctx); err != nil {
			return asked(err)
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
