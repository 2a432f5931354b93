package manager

import (
	"context"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// Cloud is what the manager needs of a cloud. Nothing in it can lower a pool's
// capacity; a pool shrinks only by Delete.
type Cloud interface {
	// Pools lists the pools of this cluster with their present capacity.
	// Where no set is tagged, the pools are the sets that known names or whose
	// instances are among its nodes. A set that known names and that does not exist
	// any more is returned as gone.
	Pools(ctx context.Context, known capacity.Known) ([]capacity.Pool, error)
	// Instances lists the machines of a pool.
	Instances(ctx context.Context, pool string) ([]capacity.Instance, error)
	// Grow raises the pool's capacity from one number to a larger one, and
	// returns as soon as the cloud has accepted it. It fails with a
	// *capacity.GrowError, with Changed set if the capacity is not from. The
	// returned function waits for the outcome, which may be a late *GrowError.
	Grow(ctx context.Context, pool string, from, to int) (wait func(context.Context) error, err error)
	// Delete deletes the instances, in one call, after reading that each ID
	// still has its VMID; an instance that is gone already counts as deleted.
	// The cloud lowers the capacity by itself. It returns as soon as the cloud
	// has accepted it; the returned function waits for the outcome, and is nil if
	// all are gone. So is that of Start and of Restart.
	Delete(ctx context.Context, pool string, instances []capacity.Ref) (wait func(context.Context) error, err error)
	// Protect changes whether the cloud may choose the instance when it scales in,
	// after the same reading, and waits until that is so.
	Protect(ctx context.Context, pool string, instance capacity.Ref, protect bool) error
	// Start starts deallocated instances, in one call, after the same reading.
	// It returns as soon as the cloud has accepted it; the returned function waits
	// for the outcome. What the cloud refuses, at once or late, is a
	// *capacity.GrowError, as there may be no room for them.
	Start(ctx context.Context, pool string, instances []capacity.Ref) (wait func(context.Context) error, err error)
	// Restart restarts the instances, reimages or deallocates them, in one call,
	// after the same reading. It returns as soon as the cloud has accepted it; the returned
	// function waits for the outcome.
	Restart(ctx context.Context, pool string, fate api.Fate, instances []capacity.Ref) (wait func(context.Context) error, err error)
}
