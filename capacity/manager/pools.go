package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

const (
	// busyRefresh and idleRefresh are how often the pools are read while
	// machines come or go and while nothing is expected to change. Azure allows
	// 12 reads a minute of each scale set.
	busyRefresh = 6 * time.Second
	idleRefresh = time.Minute
	// minRefresh is the shortest time between two reads that events ask for.
	minRefresh = time.Second
	// defaultBootTime stands in until a machine of the pool was seen to boot: an
	// ordinary Linux image takes one to two minutes from purchase to ready.
	defaultBootTime = 90 * time.Second
	// bootsRemembered is how many boots the learned time is the median of.
	bootsRemembered = 15
	// firstAway and longestAway bound how long a pool that refused is left
	// alone when the refusal does not say; it doubles each time.
	firstAway   = 30 * time.Second
	longestAway = 15 * time.Minute
	// cloudTimeout bounds one request to grow or delete, its retries included.
	cloudTimeout = 2 * time.Minute
)

// pools is what the manager knows of the cloud's pools. Its own requests show
// in it at once, not only after the next read.
type pools struct {
	cloud   Cloud
	now     func() time.Time
	log     logr.Logger
	changed func()        // something was learned: plan again
	wake    chan struct{} // read the cloud soon

	mu       sync.Mutex
	states   map[string]*poolState // by name
	err      error                 // of the last read
	writes   int                   // counts requests, so that older reads are discarded
	nodes    []string              // VMIDs of the cluster's nodes
	inFlight map[string]time.Time  // VMIDs whose deletion was accepted, until its outcome is known
}

type poolState struct {
	capacity.PoolState
	boots    []time.Duration
	refusals int
}

// errUnread stands until the first read has ended.
var errUnread = errors.New("the pools have not been read yet")

func newPools(cloud Cloud, now func() time.Time, log logr.Logger, changed func()) *pools {
	return &pools{
		cloud: cloud, now: now, log: log, changed: changed,
		wake:     make(chan struct{}, 1),
		states:   map[string]*poolState{},
		err:      errUnread,
		inFlight: map[string]time.Time{},
	}
}

// run reads the cloud until ctx ends.
func (p *pools) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.refresh(ctx)
		p.changed()
		started := p.now()
		interval := idleRefresh
		if p.busy() {
			interval = busyRefresh
		}
		select {
		case <-ctx.Done():
		case <-time.After(interval):
		case <-p.wake:
			select {
			case <-ctx.Done():
			case <-time.After(minRefresh - p.now().Sub(started)):
			}
		}
	}
}

// soon asks for a read of the cloud.
func (p *pools) soon() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// busy reports whether the pools are expected to change or could not be read.
func (p *pools) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || len(p.inFlight) > 0 {
		return true
	}
	for _, s := range p.states {
		if s.Capacity != len(s.Instances) {
			return true
		}
		for _, i := range s.Instances {
			if i.State != capacity.InstanceRunning && i.State != capacity.InstanceStopped {
				return true
			}
		}
	}
	return false
}

// refresh reads the pools and their machines.
func (p *pools) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	p.mu.Lock()
	writes, nodes := p.writes, p.nodes
	p.mu.Unlock()

	list, err := p.cloud.Pools(ctx, nodes)
	instances := map[string][]capacity.Instance{}
	for _, pool := range list {
		if err != nil {
			break
		}
		if instances[pool.Name], err = p.cloud.Instances(ctx, pool.Name); err != nil {
			err = fmt.Errorf("list the machines of pool %s: %w", pool.Name, err)
		}
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil && err == nil {
		return
	}
	if err != nil {
		if p.err == nil || p.err.Error() != err.Error() {
			p.log.Error(err, "cannot read the pools; trying again")
		}
		p.err = err
		return
	}
	if writes != p.writes {
		p.soon() // a request of ours came in between; what was read is older
		return
	}
	first := p.err != nil
	p.err = nil
	p.adopt(list, instances)
	if first {
		p.log.Info("pools discovered", "pools", describe(list))
	}
}

// adopt takes over what was read.
func (p *pools) adopt(list []capacity.Pool, instances map[string][]capacity.Instance) {
	states := map[string]*poolState{}
	for _, pool := range list {
		s := p.states[pool.Name]
		if s == nil {
			s = &poolState{}
			s.BootTime = defaultBootTime
		}
		if s.Growing {
			pool.Capacity = s.Capacity // what was read is older than the request under way
		}
		s.Pool, s.Instances, s.Listed = pool, instances[pool.Name], true
		if s.Shape == nil {
			s.Shape = shapeFromTags(pool)
		}
		states[pool.Name] = s
	}
	p.states = states
}

// describe lists the pools with their bounds for the log.
func describe(list []capacity.Pool) []string {
	var out []string
	for _, pool := range list {
		text := fmt.Sprintf("%s %s: %d machines, %d to %d", pool.Name, pool.VMSize, pool.Capacity, pool.Settings.Min, pool.Settings.Max)
		if pool.Refused != "" {
			text = pool.Name + ": not managed, " + pool.Refused
		}
		out = append(out, text)
	}
	return out
}

// failure returns why the pools could not be read last time, nil if they were.
func (p *pools) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// snapshot returns the pools as they are known.
func (p *pools) snapshot() []capacity.PoolState {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []capacity.PoolState
	for _, s := range p.states {
		if !s.Listed {
			continue
		}
		state := s.PoolState
		state.Instances = slices.Clone(s.Instances)
		out = append(out, state)
	}
	slices.SortFunc(out, func(a, b capacity.PoolState) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// setNodes tells which machines are nodes of this cluster; an unknown one asks
// for a read, since its pool is not known yet.
func (p *pools) setNodes(vmids []string, unknown bool) {
	p.mu.Lock()
	p.nodes = vmids
	p.mu.Unlock()
	if unknown {
		p.soon()
	}
}

// learn records what a ready node of the pool offers and how long it took.
// A boot of 0 is not known.
func (p *pools) learn(pool string, shape *capacity.Shape, boot time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.states[pool]
	if s == nil {
		return
	}
	if shape != nil {
		s.Shape = shape
	}
	if boot > 0 {
		s.boots = append(s.boots, boot)
		s.boots = s.boots[max(0, len(s.boots)-bootsRemembered):]
		sorted := slices.Sorted(slices.Values(s.boots))
		s.BootTime = sorted[len(sorted)/2]
	}
}

// restore takes over what an earlier leader published.
func (p *pools) restore(status api.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, published := range status.Pools {
		s := &poolState{}
		s.Name, s.BootTime = published.Name, defaultBootTime
		if boot := time.Duration(published.BootSeconds * float64(time.Second)); boot > 0 {
			s.BootTime, s.boots = boot, []time.Duration{boot}
		}
		if published.Node != nil {
			s.Shape = &capacity.Shape{
				Labels: published.Node.Labels, Taints: published.Node.Taints,
				Allocatable: capacity.ResourcesOf(published.Node.Allocatable),
			}
		}
		p.states[published.Name] = s
	}
}

// grow asks the cloud for machines and returns how many it granted. A refusal
// that says how many still fit is followed by a request for those.
func (p *pools) grow(ctx context.Context, g capacity.Grow) (int, error) {
	to := g.To
	p.growing(g.Pool, to)
	wait, err := p.cloud.Grow(ctx, g.Pool, g.From, to)
	var refusal *capacity.GrowError
	if errors.As(err, &refusal) && refusal.Fits > 0 && g.From+refusal.Fits < to {
		p.refused(g.Pool, refusal)
		to = g.From + refusal.Fits
		p.growing(g.Pool, to)
		wait, err = p.cloud.Grow(ctx, g.Pool, g.From, to)
	}
	if err != nil {
		p.settled(g.Pool, g.From)
		p.refused(g.Pool, err)
		return 0, err
	}
	p.settled(g.Pool, to)
	go p.await(context.WithoutCancel(ctx), wait, func(err error) {
		if err != nil {
			p.log.Error(err, "machines that were asked for did not come", "pool", g.Pool)
			p.refused(g.Pool, err)
			return
		}
		p.served(g.Pool)
	})
	return to - g.From, nil
}

// operationTimeout bounds the wait for a long-running operation's outcome; what
// takes longer shows in the lists of machines all the same.
const operationTimeout = 30 * time.Minute

func (p *pools) await(ctx context.Context, wait func(context.Context) error, then func(error)) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	then(wait(ctx))
	p.soon()
	p.changed()
}

func (p *pools) growing(pool string, to int) {
	p.update(pool, func(s *poolState) { s.Growing, s.Capacity = true, to })
}

func (p *pools) settled(pool string, capacity int) {
	p.update(pool, func(s *poolState) { s.Growing, s.Capacity = false, capacity })
	p.soon()
}

func (p *pools) served(pool string) {
	p.update(pool, func(s *poolState) { s.refusals = 0 })
}

// refused keeps the pool from being asked again for a while.
func (p *pools) refused(pool string, err error) {
	reason, away := err.Error(), time.Duration(0)
	var refusal *capacity.GrowError
	if errors.As(err, &refusal) {
		if refusal.Changed {
			p.soon()
			return
		}
		reason, away = refusal.Reason, refusal.RetryAfter
	}
	p.update(pool, func(s *poolState) {
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
	p.writes++
	if s := p.states[pool]; s != nil {
		change(s)
	}
}

// delete asks the cloud to delete machines. The outcome is awaited in the
// background and told to then.
func (p *pools) delete(ctx context.Context, pool string, refs []capacity.Ref, then func(error)) error {
	wait, err := p.cloud.Delete(ctx, pool, refs)
	if err != nil {
		p.soon()
		return err
	}
	p.update(pool, func(s *poolState) {
		for i := range s.Instances {
			for _, ref := range refs {
				if s.Instances[i].VMID == ref.VMID && s.Instances[i].State != capacity.InstanceDeleting {
					s.Instances[i].State = capacity.InstanceDeleting
					s.Capacity--
				}
			}
		}
		for _, ref := range refs {
			p.inFlight[ref.VMID] = p.now()
		}
	})
	go p.await(context.WithoutCancel(ctx), wait, func(err error) {
		p.update(pool, func(*poolState) {
			for _, ref := range refs {
				delete(p.inFlight, ref.VMID)
			}
		})
		then(err)
	})
	return nil
}
