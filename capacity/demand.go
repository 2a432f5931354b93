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
	buys bool
	// placed is true once every member has a place.
	placed bool
	// reserved are the nodes that are kept free for a unit that has none.
	reserved []*bin
}

// member is one pod of a unit, or one that will come (pod is nil then).
type member struct {
	pod  *Pod
	kind *kind
	bin  *bin
	// released is true if the pod is let through the gate.
	released bool
}

// kind is a Class in the planning.
type kind struct {
	*fit.Class
	// size is the larger of what a pod takes of the largest machine's CPU and
	// memory and its other resources; larger pods are packed first.
	size float64
	tied bool
	// zonal is true if a rule counts pods by zones.
	zonal bool
	// pending counts the members that may buy a machine and have no place yet.
	pending  int
	progress progress
	family   *family // nil until it is needed
	fits     bool    // a machine of the family has room for one
	market   market
	// most is how many pods of a tied kind an empty machine takes, 0 if unknown.
	most int
	// tooLarge is true if no machine that is there would have room for a pod of
	// the kind, however empty.
	tooLarge bool
}

func (p *planner) kind(class *fit.Class) *kind {
	k := p.kinds[class]
	if k == nil {
		k = &kind{Class: class, size: p.size(class.Requests), tied: p.world.Tied(class), zonal: class.Zonal()}
		p.kinds[class], p.zonal = k, p.zonal || k.zonal
	}
	return k
}

// size is the largest share that the request has of anything the largest
// machine has.
func (p *planner) size(r fit.Resources) float64 { return r.Ratio(p.largest) }

// incomplete reports whether pods of the gang are missing and nobody is about
// to create them, or gates of others hold them: no machine is worth buying yet.
func (u *unit) incomplete() bool { return u.missing > u.coming }

// waitsFor returns the first member that has a place which is not ready yet.
func (u *unit) waitsFor() *member {
	i := slices.IndexFunc(u.members, func(m *member) bool { return m.bin.tier != tierReady })
	if i < 0 {
		return nil
	}
	return u.members[i]
}

// tied reports whether a rule of some member looks at other pods.
func (u *unit) tied() bool {
	return slices.ContainsFunc(u.members, func(m *member) bool { return m.kind.tied })
}

// ready reports whether the unit may run now: all of it is there and has a
// place on ready nodes.
func (u *unit) ready() bool { return u.placed && u.missing == 0 && u.waitsFor() == nil }

// holdNominated lets pods that have a node nominated and are not bound yet
// hold their place there.
func (p *planner) holdNominated() {
	for _, pod := range p.unbound {
		if pod.Gated || pod.OthersGate || pod.Nominated == "" {
			continue
		}
		// The pool that it asks for was settled when it was released; until the
		// pools are read nobody knows which one its node is of.
		if b := p.binOf(pod.Nominated); b != nil && p.world.Check(b.place, pod.Class).Why == "" {
			b.put(&p.world, pod.Class, 1)
			p.held[pod] = b
		}
	}
}

// isDemand reports whether the pod needs a place: it waits at the gate, or it
// was released and its place is gone, or the scheduler found none for it.
// DaemonSet pods belong to one node and mirror pods are there: neither counts.
func (p *planner) isDemand(pod *Pod) bool {
	return pod.Work.IsWork() && !pod.OthersGate && p.held[pod] == nil && (pod.Gated || pod.Released || pod.Unschedulable)
}

type gangKey struct{ namespace, gang string }

// addUnits groups the demand, in the order in which it came. Pods that are yet
// to be created come last: no pod that is there waits for one of them.
func (p *planner) addUnits() {
	present := p.gangs()
	expected := map[types.UID]int{}
	for _, e := range p.snapshot.Expected {
		expected[e.Like] += min(e.Count, mostExpected)
	}
	left := mostExpected
	var later []*unit
	gangs := map[gangKey]*unit{}
	for _, pod := range p.unbound {
		if !p.isDemand(pod) {
			continue
		}
		m := p.arena.member(pod, p.kind(pod.Class))
		var u *unit
		if key := (gangKey{pod.Key.Namespace, pod.Gang}); pod.Gang == "" || !pod.Gated {
			u = p.arena.unit(pod, m, pod.Gated || pod.Released)
			p.units = append(p.units, u)
		} else if u = gangs[key]; u != nil {
			u.members = append(u.members, m)
		} else {
			u = p.arena.unit(pod, m, true)
			u.gang, u.missing = true, max(0, pod.GangSize-present[key])
			gangs[key] = u
			p.units = append(p.units, u)
		}
		for ; expected[pod.UID] > 0 && left > 0; expected[pod.UID]-- {
			left--
			like := p.arena.member(nil, m.kind)
			if u.missing > u.coming {
				u.members = append(u.members, like)
				u.coming++
			} else {
				later = append(later, p.arena.unit(pod, like, true))
			}
		}
	}
	p.units = append(p.units, later...)
}

// mostExpected bounds how many pods are planned for before they are there: far
// more than there can be machines for at once, since Azure limits a scale set to
// 1,000. Without a bound Jobs that ask for a billion pods would stop the planner.
const mostExpected = 100_000

// gangs counts the unfinished pods of each gang.
func (p *planner) gangs() map[gangKey]int {
	present := map[gangKey]int{}
	for _, pod := range p.unbound {
		if pod.Gang != "" && !pod.OthersGate {
			present[gangKey{pod.Key.Namespace, pod.Gang}]++
		}
	}
	if len(present) == 0 {
		return present // nobody asks for those that run
	}
	for _, n := range p.snapshot.Nodes {
		for _, pod := range n.load().Gangs {
			present[gangKey{pod.Key.Namespace, pod.Gang}]++
		}
	}
	return present
}
