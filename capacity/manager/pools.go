package manager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
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
	// longestBoot is more than any boot takes. A node that became ready longer
	// after its purchase was ready before: after a restart it says so anew.
	longestBoot = 30 * time.Minute
	// bootsRemembered is how many boots the learned times are of.
	bootsRemembered = 15
)

// pools is what the manager knows of the cloud's pools. Its own requests show
// in it at once, not only after the next read.
type pools struct {
	cloud   Cloud
	now     func() time.Time
	log     logr.Logger
	changed func()        // something was learned: plan again
	wake    chan struct{} // read the cloud soon

	mu     sync.Mutex
	states map[string]*poolState // by name
	err    error                 // of the last read
	nodes  []string              // VMIDs of the cluster's nodes
	look   bool                  // a node's machine is not known: list all of them
	// inFlight are the VMIDs whose deletion or restart was accepted, until its
	// outcome is known, and what they are shown as meanwhile.
	inFlight map[string]capacity.InstanceState
	// reimaged are the VMIDs of machines that join once more: how long ago they
	// were bought says nothing about a boot.
	reimaged map[string]bool
	departed map[string]departure // by VMID
}

type poolState struct {
	capacity.PoolState
	writes   int       // counts requests, so that older reads are not believed
	outdated bool      // the capacity is known to be another one: read it first
	listed   time.Time // when the machines were listed last
	leaving  bool      // machines are about to go without us
	// announced are the VMIDs of nodes' machines that the cloud has announced to
	// take, and excused those of them that a drop of the capacity is put down to.
	announced, excused map[string]bool
	// awaited counts the growths whose outcome is not known yet, and unsure is
	// true after a request that may have changed the capacity nobody knows how:
	// then a lower one is no wonder.
	awaited int
	unsure  bool
	// dropped is a drop of the capacity that was seen while a growth was awaited:
	// that one's failure would explain it.
	dropped *capacity.Lowered
	// watched are the VMIDs of machines that were listed while they were young, or
	// were reimaged, and have been no ready nodes since, and when that was.
	watched  map[string]time.Time
	givenUp  []string // VMIDs of machines that are counted as given up
	shortage shortage
	learned  bool // the shape is that of a node of this cluster
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
		inFlight: map[string]capacity.InstanceState{}, reimaged: map[string]bool{}, departed: map[string]departure{},
	}
}

// run reads the cloud until ctx ends.
func (p *pools) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.refresh(ctx)
		p.changed()
		started := p.now()
		select {
		case <-ctx.Done():
		case <-time.After(p.interval()):
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

// interval is how long it is until the next read that nothing else asks for. While
// nothing is expected to change that is when the oldest list is due: a read of
// other pools in between must not put it off.
func (p *pools) interval() time.Duration {
	if p.busy() {
		return busyRefresh
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	interval := idleRefresh
	for _, s := range p.states {
		if s.Listed {
			interval = min(interval, s.listed.Add(idleRefresh).Sub(p.now()))
		}
	}
	return max(minRefresh, interval)
}

// busy reports whether the pools are expected to change or could not be read.
func (p *pools) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || len(p.inFlight) > 0 {
		return true
	}
	for _, s := range p.states {
		if s.Listed && s.changing() {
			return true
		}
	}
	return false
}

// changing reports whether the pool's machines are expected to change.
func (s *poolState) changing() bool {
	return s.outdated || s.leaving || !s.Settled && s.Capacity != len(s.Instances) || slices.ContainsFunc(s.Instances, func(i capacity.Instance) bool {
		return i.State != capacity.InstanceRunning && !i.Off()
	})
}

// due reports whether the machines of a pool that was just read are to be
// listed: the cloud allows few lists of each pool.
func (p *pools) due(pool capacity.Pool) bool {
	s := p.states[pool.Name]
	return s == nil || !s.Listed || s.changing() || s.Capacity != pool.Capacity || p.now().Sub(s.listed) >= idleRefresh
}

// reading is what was read of a pool.
type reading struct {
	pool      capacity.Pool
	listed    bool // instances are known, or err
	instances []capacity.Instance
	err       error
}

// refresh reads the pools, and the machines of those where something is
// expected to change or has; all of them from time to time.
func (p *pools) refresh(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	p.mu.Lock()
	known, writes := capacity.Known{VMIDs: p.nodes}, map[string]int{}
	for name, s := range p.states {
		known.Pools = append(known.Pools, name)
		writes[name] = s.writes
	}
	all := p.look
	p.look = false
	p.mu.Unlock()

	slices.Sort(known.Pools)
	list, err := p.cloud.Pools(limited, known)
	if err != nil {
		list = nil
	}
	readings := make([]reading, len(list))
	p.mu.Lock()
	for i, pool := range list {
		readings[i] = reading{pool: pool, listed: all || pool.Gone || p.due(pool)}
	}
	p.mu.Unlock()
	var lists sync.WaitGroup
	for i := range readings {
		if r := &readings[i]; r.listed && !r.pool.Gone {
			lists.Go(func() {
				if r.instances, r.err = p.cloud.Instances(limited, r.pool.Name); r.err != nil {
					r.err = fmt.Errorf("list the machines of pool %s: %w", r.pool.Name, r.err)
				}
			})
		}
	}
	lists.Wait()
	if ctx.Err() != nil {
		return // what failed because of that is no news
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.err
	failures := []error{err}
	for _, r := range readings {
		failures = append(failures, r.err)
	}
	if p.err = errors.Join(failures...); p.err != nil && (before == nil || before.Error() != p.err.Error()) {
		p.log.Error(p.err, "cannot read the pools; trying again")
	}
	p.look = p.look || all && p.err != nil
	if err != nil {
		return
	}
	p.adopt(readings, writes)
	if before != nil && p.err == nil {
		p.log.Info("pools discovered", "pools", describe(list))
	}
}

// adopt takes over what was read. A pool whose machines could not be listed
// stays as it was, without blinding the others; so does one that a request of
// ours went to in between, since what was read of it is older.
func (p *pools) adopt(readings []reading, writes map[string]int) {
	there := map[string]bool{}
	for _, r := range readings {
		pool := r.pool
		there[pool.Name] = true
		s := p.states[pool.Name]
		switch {
		case r.err != nil:
			continue
		case s == nil:
			s = &poolState{}
			s.BootTime = defaultBootTime
			p.states[pool.Name] = s
		case s.writes != writes[pool.Name]:
			p.soon()
			continue
		}
		if s.Growing {
			pool.Capacity, pool.Settled = s.Capacity, false // what was read is older than the request under way
		}
		s.compare(pool, p.now())
		if s.VMSize != "" && s.VMSize != pool.VMSize {
			s.resized(pool)
		}
		s.Pool = pool
		if r.listed {
			s.watch(r.instances, p.now())
			p.noteDepartures(s, r.instances)
			s.Listed, s.listed, s.outdated = true, p.now(), false
			s.Lists++
			s.Instances = p.shown(r.instances) // the list may be behind
			s.countUnlisted(p.now())
		}
		if s.Shape == nil {
			s.Shape = shapeFromCloud(pool)
		}
	}
	for name, s := range p.states {
		if !there[name] {
			s.Listed = false // what was learned is kept, in case it comes back
		}
	}
}

// resized forgets what the nodes of the pool's former VM size offered, if the
// cloud says what those of the new one will.
func (s *poolState) resized(pool capacity.Pool) {
	shape := shapeFromCloud(pool)
	if shape == nil {
		return
	}
	if s.Shape != nil {
		labels := maps.Clone(s.Shape.Labels)
		maps.Copy(labels, shape.Labels)
		shape.Labels, shape.Taints = labels, s.Shape.Taints
	}
	s.Shape, s.learned = shape, false
}

// shown returns the machines with what requests of ours do to them. Lists of
// machines are replaced, never changed: snapshots share them.
func (p *pools) shown(machines []capacity.Instance) []capacity.Instance {
	machines = slices.Clone(machines)
	for i := range machines {
		if state, ok := p.inFlight[machines[i].VMID]; ok {
			machines[i].State = state
			machines[i].Deallocated = state == capacity.InstanceStopped // by a request of ours
		}
	}
	return machines
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
		state.Growing = s.Growing || s.outdated
		state.Unjoined = s.watched
		out = append(out, state)
	}
	slices.SortFunc(out, func(a, b capacity.PoolState) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// setNodes tells which machines are nodes of this cluster; an unknown one asks
// for a read, since its pool is not known yet. Ready returns the VMIDs and names that
// nodes which are ready claim to have. Those that were reimaged, by VMID with
// the time, are to join once more. It reports whether the machines that are watched
// are others now.
func (p *pools) setNodes(vmids []string, unknown bool, ready func() map[string]bool, reimaged map[string]time.Time) (changed bool) {
	p.mu.Lock()
	p.nodes, p.look = vmids, p.look || unknown
	rejoin := p.haveToRejoin(reimaged)
	changed = p.haveJoined(ready, reimaged) || rejoin
	p.mu.Unlock()
	if unknown {
		p.soon()
	}
	return changed
}

// learned reports whether the pool's shape is that of a node of this cluster. A
// process that ends right after it adopted a node has not recorded it.
func (p *pools) learned(pool string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.states[pool]
	return s == nil || s.learned
}

// forget forgets a pool for good.
func (p *pools) forget(pool string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.states, pool)
}

// joinsAnew reports, once, whether the machine was reimaged.
func (p *pools) joinsAnew(vmid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	anew := p.reimaged[vmid]
	delete(p.reimaged, vmid)
	return anew
}

// learn records what a ready node of the pool offers and how long it took. What
// the volume drivers of the pool's nodes are known to say stays: those of this one are
// yet to register. A boot of 0 is not known.
func (p *pools) learn(pool string, shape *fit.Shape, boot time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.states[pool]
	if s == nil {
		return
	}
	if shape != nil {
		if s.Shape != nil {
			shape = shape.WithDrivers(s.Shape.InZone(shape.Labels[corev1.LabelTopologyZone]))
		}
		s.Shape, s.learned = shape, true
	}
	if boot > 0 && boot <= longestBoot {
		s.boots = append(s.boots, boot)
		s.boots = s.boots[max(0, len(s.boots)-bootsRemembered):]
		sorted := slices.Sorted(slices.Values(s.boots))
		s.BootTime, s.SlowBoot = sorted[len(sorted)/2], sorted[len(sorted)*9/10]
	}
}

// learnDrivers records what the volume drivers of a node of the pool say, and reports
// whether that is new. Unless the node has been there for long, one that it lacks may
// yet register.
func (p *pools) learnDrivers(pool string, n *capacity.Node, registered bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.states[pool]
	if s == nil || s.Shape == nil || n.LacksDrivers(&n.Shape) {
		return false
	}
	more := !registered && s.Shape.CSI != nil && s.Shape.CSI.Unknown // may come
	if !registered && (n.CSI == nil || len(n.CSI.Limits) == 0 || !more && n.LacksDrivers(s.Shape)) {
		return false
	}
	shape := s.Shape.WithoutDrivers().WithDrivers(driversOf(n).InZone(s.Shape.Labels[corev1.LabelTopologyZone]))
	if more {
		shape.CSI.Unknown = true
	}
	if shape.CSI.Equal(s.Shape.CSI) && maps.Equal(shape.Labels, s.Shape.Labels) {
		return false
	}
	s.Shape = shape
	return true
}

// restore takes over what an earlier leader published.
func (p *pools) restore(status api.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, published := range status.Pools {
		s := &poolState{}
		s.Name, s.VMSize, s.BootTime = published.Name, published.VMSize, defaultBootTime
		if boot := time.Duration(published.BootSeconds * float64(time.Second)); boot > 0 {
			s.BootTime, s.SlowBoot, s.boots = boot, time.Duration(published.SlowBootSeconds*float64(time.Second)), []time.Duration{boot}
		}
		if published.Node != nil {
			s.Shape = restoredShape(published.Node)
		}
		s.restoreRepairs(published)
		p.states[published.Name] = s
	}
}
