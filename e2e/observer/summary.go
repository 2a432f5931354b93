package observer

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// summarise judges the records as they are at the time end.
func (r *records) summarise(end time.Time) Summary {
	var s Summary
	machines := r.machines()
	for _, p := range r.sortedPods() {
		if p.gated {
			s.PodsGated++
		}
		if !p.released.IsZero() {
			s.PodsReleased++
		}
		if !p.done.IsZero() && !p.failed {
			s.PodsCompleted++
		}
		r.judge(p, machines, &s)
	}
	for _, n := range r.nodes {
		s.Rescues += n.rescues
	}
	for _, e := range r.history {
		switch {
		case e.Kind == emulator.CapacityChanged && e.How == emulator.ByPatch && e.New > e.Old:
			s.MachinesBought += e.New - e.Old
		case e.Kind == emulator.CapacityChanged && e.How == emulator.ByPatch && e.New < e.Old:
			s.Violations = append(s.Violations, fmt.Sprintf("the capacity of %s was lowered from %d to %d", e.Set, e.Old, e.New))
		case e.Kind == emulator.InstanceDeleted && e.How == emulator.ByDeleteInstances:
			s.MachinesRetired++
		}
	}
	s.GateToRequestMS = median(r.gateToRequest(machines))
	s.ReadyToReleaseMS = median(r.readyToRelease())
	s.MachineSeconds, s.BusyMachineSeconds = r.machineTime(machines, end)
	return s
}

// judge adds what went wrong with the pod. Nobody deletes pods that are not
// done here, so whoever does has killed one, also if it was on no machine yet.
func (r *records) judge(p *pod, machines map[string][]machine, s *Summary) {
	m, known := machineAt(machines[p.node], p.bound)
	if known && m.went(p.bound) || r.committedBefore(p) {
		s.LateBinds++
		s.Violations = append(s.Violations, fmt.Sprintf("pod %s was bound to %s after its deletion was decided", p.name, p.node))
	}
	deletedUnder := known && !m.deleted.IsZero() && (p.done.IsZero() || p.done.After(m.deleted))
	if deletedUnder || p.failed || p.evicted || !p.gone.IsZero() && p.done.IsZero() {
		s.PodsKilled++
		s.Violations = append(s.Violations, fmt.Sprintf("pod %s was killed; its node: %q", p.name, p.node))
	}
}

func (r *records) committedBefore(p *pod) bool {
	for _, n := range r.nodes {
		if n.name == p.node && !n.committed.IsZero() && !n.created.After(p.bound) &&
			p.bound.After(n.committed) && (n.gone.IsZero() || p.bound.Before(n.gone)) {
			return true
		}
	}
	return false
}

// machine is the life of one VM. deleted is when its deletion was accepted.
type machine struct {
	created, deleted time.Time
}

// went reports whether the machine was on its way out at t.
func (m machine) went(t time.Time) bool { return !m.deleted.IsZero() && t.After(m.deleted) }

// machines returns the lives of VMs by the name that their node has, oldest
// first. A name may be used again.
func (r *records) machines() map[string][]machine {
	byVM := map[string]*machine{}
	names := map[string]string{}
	var order []string
	for _, e := range r.history {
		m := byVM[e.VMID]
		if e.VMID == "" {
			continue
		}
		if m == nil {
			m = &machine{created: e.Time}
			byVM[e.VMID] = m
			order = append(order, e.VMID)
		}
		names[e.VMID] = strings.ToLower(e.ComputerName)
		if (e.Kind == emulator.InstanceDeleting || e.Kind == emulator.InstanceDeleted) && m.deleted.IsZero() {
			m.deleted = e.Time
		}
	}
	out := map[string][]machine{}
	for _, vm := range order {
		out[names[vm]] = append(out[names[vm]], *byVM[vm])
	}
	return out
}

// machineAt returns the newest machine of that name that existed at t.
func machineAt(lives []machine, t time.Time) (machine, bool) {
	for _, m := range slices.Backward(lives) {
		if !m.created.After(t) {
			return m, true
		}
	}
	return machine{}, false
}

// gateToRequest returns, for each purchase, the time since the oldest of the
// pods came to the gate that then ran on a machine of that purchase. Pods that
// ran on a machine older than themselves needed none. What a pool at its maximum
// makes a pod wait counts as well: from outside it cannot be told apart.
func (r *records) gateToRequest(machines map[string][]machine) []time.Duration {
	oldest := map[time.Time]time.Duration{} // by the time of the purchase
	for _, p := range r.pods {
		m, known := machineAt(machines[p.node], p.bound)
		if wait := m.created.Sub(p.created); known && p.gated && wait > 0 {
			oldest[m.created] = max(oldest[m.created], wait)
		}
	}
	return slices.Collect(maps.Values(oldest))
}

// readyToRelease returns, for each node, the time from ready to the release of
// the first pod that was waiting then and is nominated for it.
func (r *records) readyToRelease() []time.Duration {
	var samples []time.Duration
	for _, n := range r.nodes {
		first := time.Duration(math.MaxInt64)
		for _, p := range r.pods {
			if !n.ready.IsZero() && p.nominated == n.name && p.created.Before(n.ready) && p.released.After(n.ready) {
				first = min(first, p.released.Sub(n.ready))
			}
		}
		if first < math.MaxInt64 {
			samples = append(samples, first)
		}
	}
	return samples
}

// machineTime adds up how long machines existed, and how long at least one
// batch pod was running on them, in seconds.
func (r *records) machineTime(machines map[string][]machine, end time.Time) (all, busy float64) {
	for name, lives := range machines {
		for _, m := range lives {
			until := m.deleted
			if until.IsZero() {
				until = end
			}
			all += until.Sub(m.created).Seconds()
			busy += r.busy(name, m.created, until).Seconds()
		}
	}
	return math.Round(all), math.Round(busy)
}

// busy is the length of the union of the pods' runs on the node in that time.
func (r *records) busy(name string, from, until time.Time) time.Duration {
	type span struct{ from, until time.Time }
	var spans []span
	for _, p := range r.pods {
		if p.node != name || p.running.IsZero() || p.running.Before(from) || p.running.After(until) {
			continue
		}
		done := until
		if !p.done.IsZero() && p.done.Before(until) {
			done = p.done
		}
		spans = append(spans, span{p.running, done})
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var sum time.Duration
	last := from
	for _, s := range spans {
		if s.from.Before(last) {
			s.from = last
		}
		if s.until.After(s.from) {
			sum += s.until.Sub(s.from)
			last = s.until
		}
	}
	return sum
}

func (r *records) sortedPods() []*pod {
	return slices.SortedFunc(maps.Values(r.pods), func(a, b *pod) int {
		return cmp.Or(a.created.Compare(b.created), strings.Compare(a.name, b.name))
	})
}

func median(samples []time.Duration) int64 {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[len(samples)/2].Milliseconds()
}
