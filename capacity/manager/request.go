package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

const (
	// firstAway and longestAway bound how long a pool that refused is left
	// alone when the refusal does not say; it doubles each time.
	firstAway   = 30 * time.Second
	longestAway = 15 * time.Minute
	// cloudTimeout bounds one request to grow or delete, its retries included.
	cloudTimeout = 2 * time.Minute
	// operationTimeout bounds the wait for a long-running operation's outcome;
	// what takes longer shows in the lists of machines all the same.
	operationTimeout = 30 * time.Minute
)

// grow asks the cloud for machines and returns how many it granted. A refusal
// that says how many still fit is followed by a request for those.
func (p *pools) grow(ctx context.Context, g capacity.Grow) (int, error) {
	asked := g.To - g.From
	if !p.begin(g) {
		return 0, &capacity.GrowError{Changed: true, Reason: fmt.Sprintf("pool %s has changed since the plan", g.Pool)}
	}
	wait, err := p.cloud.Grow(ctx, g.Pool, g.From, g.To)
	var refusal *capacity.GrowError
	if errors.As(err, &refusal) && refusal.Fits > 0 && refusal.Fits < asked {
		p.refused(g.Pool, refusal, func(s *poolState) { s.Capacity -= asked - refusal.Fits })
		asked = refusal.Fits
		wait, err = p.cloud.Grow(ctx, g.Pool, g.From, g.From+asked)
	}
	if err != nil {
		p.refused(g.Pool, err, func(s *poolState) { s.Growing, s.Capacity = false, s.Capacity-asked })
		p.soon()
		return 0, err
	}
	p.update(g.Pool, func(s *poolState) { s.Growing, s.Asked, s.awaited = false, p.now(), s.awaited+1 })
	p.soon()
	p.await(ctx, wait, func(err error) {
		p.update(g.Pool, func(s *poolState) {
			s.awaited--
			if err != nil {
				s.dropped, s.unsure = nil, true
			}
		})
		switch {
		case err == nil:
			p.served(g.Pool)
		case errors.Is(err, context.DeadlineExceeded):
			// Nobody knows yet; that is no reason to leave the pool alone.
		default:
			p.log.Error(err, "machines that were asked for did not come", "pool", g.Pool)
			p.refused(g.Pool, err, func(*poolState) {})
		}
	})
	return asked, nil
}

// begin shows the request in the pool, unless the pool is no longer what the
// plan took it for. All changes to the capacity are differences: a deletion may
// be accepted meanwhile.
func (p *pools) begin(g capacity.Grow) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.states[g.Pool]
	if s == nil || !s.Listed || s.Growing || s.outdated || s.Capacity != g.From {
		return false
	}
	s.writes++
	s.Growing, s.Capacity, s.Settled = true, g.To, false
	return true
}

// await tells the outcome of a request to then, in the background unless there is
// nothing to wait for.
func (p *pools) await(ctx context.Context, wait func(context.Context) error, then func(error)) {
	told := func(err error) {
		then(err)
		p.soon()
		p.changed()
	}
	if wait == nil {
		told(nil)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
		defer cancel()
		told(wait(ctx))
	}()
}

func (p *pools) served(pool string) {
	p.update(pool, func(s *poolState) { s.refusals = 0 })
}

// refused takes back what was shown of a request in vain, and keeps the pool
// from being asked again: for a while, or until it was read if it only was not
// as expected.
func (p *pools) refused(pool string, err error, takeBack func(*poolState)) {
	reason, away := err.Error(), time.Duration(0)
	var refusal *capacity.GrowError
	changed := errors.As(err, &refusal) && refusal.Changed
	if refusal != nil {
		reason, away = refusal.Reason, refusal.RetryAfter
	}
	p.update(pool, func(s *poolState) {
		takeBack(s)
		if changed {
			s.outdated = true
			return
		}
		if away == 0 {
			away = min(firstAway<<min(s.refusals, 10), longestAway)
		}
		s.refusals++
		s.AwayUntil, s.AwayReason = p.now().Add(away), reason
	})
}

func (p *pools) update(pool string, change func(*poolState)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.states[pool]; s != nil {
		s.writes++
		change(s)
	}
}

// restart asks the cloud to restart, reimage or deallocate machines.
func (p *pools) restart(ctx context.Context, pool string, fate api.Fate, refs []capacity.Ref, then func(error)) error {
	wait, err := p.cloud.Restart(ctx, pool, fate, refs)
	if err == nil && fate == api.FateReimage {
		p.update(pool, func(*poolState) {
			for _, ref := range refs {
				p.reimaged[ref.VMID] = true
			}
		})
	}
	left := unlisted
	if fate == api.FateDeallocate {
		left = capacity.InstanceStopped
	}
	return p.follow(ctx, pool, refs, left, wait, err, then)
}

// deletesFor is how long a pool's machines are deleted after the cloud did not
// deallocate one: sizes with an ephemeral disk, for instance, cannot be.
const deletesFor = time.Hour

// deletes has machines of the pool deleted, not deallocated, for a while.
func (p *pools) deletes(pool string) {
	p.update(pool, func(s *poolState) { s.DeletesUntil = p.now().Add(deletesFor) })
}

// start asks the cloud to start machines. A refusal keeps the pool from being asked
// again for a while, like that of a growth: there is no room for new machines either.
func (p *pools) start(ctx context.Context, pool string, refs []capacity.Ref, then func(error)) error {
	wait, err := p.cloud.Start(ctx, pool, refs)
	if isRefusal(err) {
		p.refused(pool, err, func(*poolState) {})
	}
	return p.follow(ctx, pool, refs, unlisted, wait, err, func(err error) {
		switch {
		case err == nil:
			p.served(pool)
		case isRefusal(err):
			p.refused(pool, err, func(*poolState) {})
		}
		then(err)
	})
}

// isRefusal reports whether the cloud has surely not done, and will not do, what it
// was asked for.
func isRefusal(err error) bool {
	var refusal *capacity.GrowError
	return errors.As(err, &refusal) && !errors.Is(err, capacity.ErrNoAnswer)
}

// unlisted is the state of a machine that only the next list tells.
const unlisted capacity.InstanceState = ""

// follow awaits the outcome of a request that was accepted in the background, and
// tells it to then. Until that is told the machines are shown as restarting, so
// that nobody asks twice; from a success to the next list, in the state that it
// has left them in, so that one that is off is not passed over for a new one.
func (p *pools) follow(ctx context.Context, pool string, refs []capacity.Ref, left capacity.InstanceState, wait func(context.Context) error, err error, then func(error)) error {
	if err != nil {
		return err
	}
	p.update(pool, func(s *poolState) {
		for _, ref := range refs {
			p.inFlight[ref.VMID] = capacity.InstanceRestarting
		}
		s.Instances = p.shown(s.Instances)
	})
	p.await(ctx, wait, func(err error) {
		then(err)
		if err != nil {
			left = unlisted
		}
		p.land(pool, refs, left)
	})
	return nil
}

// land has the machines shown as they are listed again, and until then in the
// state that they are known to be in.
func (p *pools) land(pool string, refs []capacity.Ref, left capacity.InstanceState) {
	p.update(pool, func(s *poolState) {
		if left != unlisted {
			for _, ref := range refs {
				p.inFlight[ref.VMID] = left
			}
			s.Instances = p.shown(s.Instances)
		}
		for _, ref := range refs {
			delete(p.inFlight, ref.VMID)
		}
	})
}

// underWay reports whether what the cloud was asked for last of the machine was
// accepted and has no outcome yet.
func (p *pools) underWay(vmid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inFlight[vmid] != ""
}

// delete asks the cloud to delete machines. The outcome is awaited in the
// background and told to then.
func (p *pools) delete(ctx context.Context, pool string, refs []capacity.Ref, then func(error)) error {
	wait, err := p.cloud.Delete(ctx, pool, refs)
	if err != nil {
		p.update(pool, func(s *poolState) { s.unsure = true }) // it may have been carried out
		p.soon()
		return err
	}
	p.update(pool, func(s *poolState) {
		accepted := map[string]bool{}
		for _, ref := range refs {
			p.inFlight[ref.VMID], accepted[ref.VMID] = capacity.InstanceDeleting, true
		}
		for _, i := range s.Instances {
			if accepted[i.VMID] && i.State != capacity.InstanceDeleting {
				s.Capacity--
			}
		}
		s.Instances = p.shown(s.Instances)
	})
	p.await(ctx, wait, func(err error) {
		p.land(pool, refs, unlisted)
		then(err)
	})
	return nil
}
