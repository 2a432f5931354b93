package manager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

const (
	// youngEnough is how old a machine may be when it is listed for the first time
	// and still counts as watched since it was bought: no machine is bought, joins
	// and loses its Node in less.
	youngEnough = 2 * time.Minute
	// silenceTold is how long a node with work may be silent before it is said.
	silenceTold = time.Minute
)

// watch notes which of the listed machines are seen for the first time and are
// young, and forgets those that are gone.
func (s *poolState) watch(listed []capacity.Instance, now time.Time) {
	watched := map[string]time.Time{}
	for _, i := range listed {
		known := slices.ContainsFunc(s.Instances, func(before capacity.Instance) bool { return before.VMID == i.VMID })
		young := !known && !i.Created.IsZero() && now.Sub(i.Created) < youngEnough
		if since, is := s.watched[i.VMID]; is {
			watched[i.VMID] = since
		} else if i.VMID != "" && young {
			watched[i.VMID] = i.Created
		}
	}
	s.watched = watched
}

// haveToRejoin watches the machines that were reimaged, with the time, and whose old
// nodes are about to go. It reports whether there are new ones. The caller holds p.mu.
func (p *pools) haveToRejoin(reimaged map[string]time.Time) (added bool) {
	if len(reimaged) == 0 {
		return false
	}
	for _, s := range p.states {
		watched := maps.Clone(s.watched) // snapshots share the old set
		for _, i := range s.Instances {
			if since, is := reimaged[i.VMID]; is && !watched[i.VMID].Equal(since) {
				watched[i.VMID], added = since, true
			}
		}
		s.watched = watched
	}
	return added
}

// haveJoined forgets the watched machines that some ready node claims to be, by
// whatever it says of itself, and reports whether there are any. The old node of a
// reimaged one does not count. The caller holds p.mu.
func (p *pools) haveJoined(ready func() map[string]bool, reimaged map[string]time.Time) (joined bool) {
	var claimed map[string]bool // made for the first machine that needs it
	for _, s := range p.states {
		if !s.Listed || len(s.watched) == 0 {
			continue
		}
		if claimed == nil {
			claimed = ready()
		}
		left := map[string]time.Time{} // snapshots share the old set
		for _, i := range s.Instances {
			since, watched := s.watched[i.VMID]
			_, old := reimaged[i.VMID]
			if watched && (old || !claimed[i.VMID] && !claimed[strings.ToLower(i.ComputerName)]) {
				left[i.VMID] = since
			}
		}
		if len(left) < len(s.watched) {
			s.watched, joined = left, true
		}
	}
	return joined
}

// restoreRepairs takes over what an earlier leader knew of machines on their way.
func (s *poolState) restoreRepairs(published api.PoolStatus) {
	s.Tainted, s.watched = published.StartupTaint, map[string]time.Time{}
	for vmid, since := range published.Joining {
		s.watched[vmid] = since.Time
	}
	for _, t := range published.Repairs {
		s.Repairs = append(s.Repairs, t.Time)
	}
}

// learnTaint records whether the pool's nodes join with the startup taint.
func (p *pools) learnTaint(pool string, tainted bool) {
	p.update(pool, func(s *poolState) { s.Tainted = tainted })
}

// repaired records that the machines with these VMIDs are given up, and returns how
// many of them were not before: it may take more than one attempt.
func (p *pools) repaired(pool string, vmids ...string) (news int) {
	p.update(pool, func(s *poolState) {
		vmids = slices.DeleteFunc(vmids, func(vmid string) bool { return slices.Contains(s.givenUp, vmid) })
		news = len(vmids)
		s.givenUp = append(slices.DeleteFunc(s.givenUp, func(vmid string) bool {
			return !slices.ContainsFunc(s.Instances, func(i capacity.Instance) bool { return i.VMID == vmid })
		}), vmids...)
		repairs := slices.Clone(s.RecentRepairs(p.now()))
		for range news {
			repairs = append(repairs, p.now())
		}
		s.Repairs = repairs
	})
	return news
}

// repairActions delete machines that never became nodes, those of a pool
// together, and tell of those that are not to be deleted.
func (m *Manager) repairActions(o *observation, d capacity.Decision) []action {
	m.followGivenUp(o, d)
	byPool := map[string][]capacity.Repair{}
	reported := map[string]bool{}
	for _, r := range d.Repairs {
		if r.Report {
			reported[r.Instance.VMID] = true
			if !m.reported[r.Instance.VMID] {
				m.tellUnjoined(r)
			}
			continue
		}
		byPool[r.Pool] = append(byPool[r.Pool], r)
	}
	m.reported = reported
	var actions []action
	for pool, repairs := range byPool {
		repairs = slices.DeleteFunc(repairs, func(r capacity.Repair) bool { return !m.publisher.givesUp(r.Instance.VMID) })
		if len(repairs) == 0 {
			continue
		}
		actions = append(actions, action{key: "repair/" + pool, run: func(ctx context.Context) error { return m.repair(ctx, pool, repairs) }})
	}
	return actions
}

// tellUnjoined tells of a machine that does not join and is left alone.
func (m *Manager) tellUnjoined(r capacity.Repair) {
	const advice = "Tidegate deletes such machines only in pools whose agents join with the taint " + api.StartupTaint +
		"; look at it, and delete it: az vmss delete-instances --resource-group GROUP --name %s --instance-ids %s"
	m.log.Error(nil, "a machine does not join", "pool", r.Pool, "instance", r.Instance.ID, "vmid", r.Instance.VMID, "why", r.Why)
	m.say(statusObject(), corev1.EventTypeWarning, "MachineDoesNotJoin", "Repair", "machine %s of %s: %s; "+advice, r.Instance.ID, r.Pool, r.Why, r.Pool, r.Instance.ID)
}

// statusObject is what events are about that concern no node.
func statusObject() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: api.StatusConfigMap}}
}

// repair deletes machines that never became nodes, after a look at the nodes that
// the API server has now: any that may be one of the machines saves it.
func (m *Manager) repair(ctx context.Context, pool string, repairs []capacity.Repair) error {
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	// This may have been planned before the last such request was accepted.
	repairs = slices.DeleteFunc(slices.Clone(repairs), func(r capacity.Repair) bool { return m.pools.underWay(r.Instance.VMID) })
	if len(repairs) == 0 {
		return nil
	}
	// A machine may join after the look at the nodes, while the request waits for its
	// turn. Its node keeps its startup taint then.
	before := map[string]time.Time{}
	for _, r := range repairs {
		before[r.Instance.VMID] = m.givenUp.set(r.Instance.VMID, m.now())
	}
	// What surely is not deleted by this request may be by an earlier one.
	spare := func(repairs ...capacity.Repair) {
		for _, r := range repairs {
			m.givenUp.set(r.Instance.VMID, before[r.Instance.VMID])
		}
	}
	live, err := m.kubernetes.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		spare(repairs...)
		return fmt.Errorf("live read of the nodes before machines of %s are given up: %w", pool, err)
	}
	repairs = slices.DeleteFunc(repairs, func(r capacity.Repair) bool {
		joined := slices.ContainsFunc(live.Items, func(n corev1.Node) bool { return mayBe(&n, r.Instance) })
		if joined {
			spare(r)
		}
		return joined
	})
	if len(repairs) == 0 {
		return nil
	}
	var refs []capacity.Ref
	for _, r := range repairs {
		refs = append(refs, capacity.Ref{ID: r.Instance.ID, VMID: r.Instance.VMID})
	}
	failed := func(err error) {
		if !errors.Is(err, capacity.ErrNoAnswer) {
			spare(repairs...)
		}
		m.log.Error(err, "machines that did not join cannot be deleted; trying again", "pool", pool, "instances", refs)
		m.say(statusObject(), corev1.EventTypeWarning, "RepairFailed", "Repair", "machines of %s that did not join cannot be deleted; trying again: %v", pool, err)
	}
	err = m.write("repair", func() error {
		return m.pools.delete(ctx, pool, refs, func(err error) {
			if err != nil {
				failed(err)
			}
		})
	})
	if err != nil {
		failed(err)
		return fmt.Errorf("give up %d machines of %s: %w", len(refs), pool, err)
	}
	var vmids []string
	for _, r := range repairs {
		vmids = append(vmids, r.Instance.VMID)
	}
	m.metrics.repaired.WithLabelValues(pool).Add(float64(m.pools.repaired(pool, vmids...)))
	for _, r := range repairs {
		m.log.Info("machine given up", "pool", pool, "instance", r.Instance.ID, "vmid", r.Instance.VMID, "why", r.Why)
		m.say(statusObject(), corev1.EventTypeWarning, "MachineGivenUp", "Repair", "machine %s of %s is deleted: %s", r.Instance.ID, pool, r.Why)
	}
	return nil
}

// mayBe reports whether the node says anything of itself that fits the machine.
func mayBe(n *corev1.Node, i capacity.Instance) bool {
	id := identity(n)
	return slices.Contains(capacity.VMIDs(id.SystemUUID), i.VMID) || strings.EqualFold(id.Name, i.ComputerName) ||
		n.Annotations[api.VMIDAnnotation] == i.VMID
}

// followSilence tells once of each node that is silent and has work on it.
func (m *Manager) followSilence(o *observation) {
	for _, n := range o.snapshot.Nodes {
		if n.Ready || n.SilentSince.IsZero() || n.Recorded == "" || n.Load == nil || n.Load.Work == 0 || o.snapshot.Now.Sub(n.SilentSince) < silenceTold {
			continue
		}
		object := o.node(n.Name)
		if object == nil || !m.progress.silent(n.UID, n.SilentSince) {
			continue
		}
		text := capacity.SilentText(n.SilentSince, n.Load.Work)
		m.log.Error(nil, "a node with work is silent; waiting", "node", n.Name, "pool", n.Pool, "since", n.SilentSince, "pods", n.Load.Work)
		m.say(object, corev1.EventTypeWarning, "NodeSilent", "Wait", "%s", text)
	}
}
