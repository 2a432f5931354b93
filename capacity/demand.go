package capacity

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// unit is what is placed together: one pod, or the pods of a gang.
type unit struct {
	members []*member
	// leader is the oldest member of the highest priority; the unit's order.
	leader *Pod
	gang   bool
	// missing is how many pods of the gang are not there yet, and coming how
	// many of these its Job is about to create.
	missing, coming int
	// buys is false for pods that never had a gate: they may take a mark back
	// but not buy a machine.
	buys   bool
	placed bool
}

// member is one pod of a unit, or one that will come (pod is nil then).
type member struct {
	pod   *Pod
	class *fit.Class
	bin   *bin
	from  int // the planner's next for the class before it was placed
}

func single(leader, pod *Pod, buys bool) *unit {
	return &unit{leader: leader, buys: buys, members: []*member{{pod: pod, class: leader.Class}}}
}

// incomplete reports whether pods of the gang are missing and nobody is about
// to create them, or gates of others hold them: no machine is worth buying yet.
func (u *unit) incomplete() bool { return u.missing > u.coming }

// ready reports whether the unit may run now: all of it is there and has a
// place on ready nodes.
func (u *unit) ready() bool {
	return u.placed && u.missing == 0 && !slices.ContainsFunc(u.members, func(m *member) bool {
		return m.bin.tier != tierReady
	})
}

// holdNominated lets pods that have a node nominated and are not bound yet
// hold their place there.
func (p *planner) holdNominated() {
	for _, pod := range p.unbound {
		if pod.Gated || pod.OthersGate || pod.Nominated == "" {
			continue
		}
		if b := p.byNode[pod.Nominated]; b != nil && p.fits(b, b.free, pod.Class) {
			b.take(pod.Class)
			p.held[pod] = true
		}
	}
}

// isDemand reports whether the pod needs a place: it waits at the gate, or it
// was released and its place is gone, or the scheduler found none for it.
// DaemonSet pods belong to one node and mirror pods are there: neither counts.
func (p *planner) isDemand(pod *Pod) bool {
	return pod.Work.IsWork() && !pod.OthersGate && !p.held[pod] && (pod.Gated || pod.Released || pod.Unschedulable)
}

type gangKey struct{ namespace, gang string }

// units groups the demand, in the order in which it is to be placed. Pods that
// are yet to be created come last: no pod that is there waits for one of them.
func (p *planner) units() []*unit {
	present := map[gangKey]int{}
	count := func(pods []*Pod) {
		for _, pod := range pods {
			if pod.Gang != "" && !pod.OthersGate {
				present[gangKey{pod.Key.Namespace, pod.Gang}]++
			}
		}
	}
	count(p.unbound)
	for _, n := range p.snapshot.Nodes {
		count(n.load().Pods)
	}
	expected := map[types.UID]int{}
	for _, e := range p.snapshot.Expected {
		expected[e.Like] += e.Count
	}
	var units, later []*unit
	gangs := map[gangKey]*unit{}
	for _, pod := range p.unbound {
		if !p.isDemand(pod) {
			continue
		}
		u := single(pod, pod, pod.Gated || pod.Released)
		if key := (gangKey{pod.Key.Namespace, pod.Gang}); pod.Gang == "" || !pod.Gated {
			units = append(units, u)
		} else if known := gangs[key]; known != nil {
			known.members = append(known.members, u.members...)
			u = known
		} else {
			u.gang, u.missing = true, max(0, pod.GangSize-present[key])
			gangs[key] = u
			units = append(units, u)
		}
		for range expected[pod.UID] {
			if u.missing > u.coming {
				u.members = append(u.members, &member{class: pod.Class})
				u.coming++
			} else {
				later = append(later, single(pod, nil, true))
			}
		}
	}
	units = append(units, later...)
	for _, u := range units {
		if !u.incomplete() {
			for _, m := range u.members {
				p.pending[m.class]++
			}
		}
	}
	return units
}
