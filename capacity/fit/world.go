package fit

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/internal/slab"
)

// World is where pods stand, or would stand if a plan were carried out. It is
// not safe for concurrent use.
type World struct {
	places []*Place
	relations
	storage
	// frozen is true after Freeze.
	frozen bool
	slab   slab.Of[Place]
	// scratch is what node selectors are matched against.
	scratch corev1.Node
	// expected are machines that may come.
	expected []*Place
	// fresh are the labels of machines that do not exist yet.
	fresh map[*Shape]map[string]string
}

// NewWorld returns a world without places.
func NewWorld() *World { return &World{} }

// Reset takes everything out of the world, which uses its memory again. No Place
// that was in it may be used any more.
func (w *World) Reset() {
	w.slab.Reset()
	clear(w.places[:cap(w.places)])
	clear(w.early[:cap(w.early)])
	*w = World{slab: w.slab, places: w.places[:0], relations: relations{early: w.early[:0]}}
}

// Place is a node in a World, or a machine that does not exist yet.
type Place struct {
	shape *Shape
	name  string
	// Free is what is left for pods.
	Free Resources
	// standing are the pods that were there from the start; it is shared with
	// the caller and read only.
	standing []Count
	// crowding are planned pods that take more of the node than resources.
	crowding []Count
	// attached are the volumes of both, nil until somebody asks.
	attached *attached
	// index is the place's number in the world, none if it was removed.
	index int
	// labels are the shape's, and the host name of a machine without a name.
	labels map[string]string
	// open is true if the shape keeps off nobody who does not look at it.
	open bool
	// shuns is true if a pod that stands there keeps others off.
	shuns bool
}

// PlaceOf is a node with so much room left beside the pods that stand on it. The
// name is "" for a machine that does not exist yet, which has a host name of its
// own.
func PlaceOf(shape *Shape, name string, free Resources, standing []Count) Place {
	p := Place{name: name, standing: standing, index: none}
	p.form(shape, free)
	p.shuns = slices.ContainsFunc(standing, func(c Count) bool { return len(c.Class.shunned) > 0 })
	return p
}

// Add adds the place. Nodes that are no candidates belong in the world too: rules
// about other pods count them and what stands on them.
func (w *World) Add(place Place) *Place {
	p := w.slab.New()
	*p = place
	p.index, p.Free.Scalar = len(w.places), maps.Clone(place.Free.Scalar)
	if p.name == "" {
		p.labels = w.labelsOfNew(p.shape)
	}
	w.places = append(w.places, p)
	if p.shuns && !w.on {
		w.start()
	}
	return p
}

// Expect says that a machine of that shape may come, before any pod is judged.
// Pods that have to spread over the machines that do not exist yet have to
// spread over its domains too.
func (w *World) Expect(shape *Shape) {
	w.expected = append(w.expected, w.machine(shape))
}

// Exchange turns a place that does not exist yet into one of another shape that
// leaves so much room, with all that is planned for it, and reports whether it
// did: it does not if a rule about other pods could tell the shapes apart.
func (w *World) Exchange(p *Place, shape *Shape, free Resources) bool {
	if p.index < w.tallied && !w.alike(p, shape) {
		return false
	}
	p.form(shape, free)
	p.Free.Scalar, p.labels = maps.Clone(free.Scalar), w.labelsOfNew(shape)
	return true
}

// machine is one of that shape that is no place of the world.
func (w *World) machine(shape *Shape) *Place {
	return &Place{index: none, shape: shape, labels: w.labelsOfNew(shape)}
}

// alike reports whether the place would count for the same if it had the shape.
func (w *World) alike(p *Place, shape *Shape) bool {
	for key := range w.axes {
		value, ok := p.shape.Labels[key]
		if other, okToo := shape.Labels[key]; ok != okToo || value != other {
			return false
		}
	}
	as := w.machine(shape)
	for _, f := range w.fields {
		if f.in[p.index] != w.counts(f, as) {
			return false
		}
	}
	return true
}

func (p *Place) form(shape *Shape, free Resources) {
	p.shape, p.Free, p.labels = shape, free, shape.Labels
	p.open, p.attached = len(shape.Taints) == 0 && !shape.Unschedulable, nil
}

// labelsOfNew are the labels of a machine of the shape that does not exist yet.
func (w *World) labelsOfNew(shape *Shape) map[string]string {
	known, ok := w.fresh[shape]
	if !ok {
		known = shape.labelsOfNew()
		if w.fresh == nil {
			w.fresh = map[*Shape]map[string]string{}
		}
		w.fresh[shape] = known
	}
	return known
}

// Freeze makes verdicts on pods of these classes hold in whatever order those
// are bound that are planned from here on: the more pods in a domain count, but
// no verdict rests on a pod that is only planned.
func (w *World) Freeze(classes []*Class) {
	if !w.on {
		w.start()
	}
	w.catchUp()
	w.frozen = true
	for _, c := range classes {
		w.rulesOf(w.member(c))
	}
	for _, t := range w.near {
		t.freeze(w)
	}
	for _, s := range w.spread {
		s.frozen, s.floor = true, s.present.lowest(s.field.present.size)
	}
}

// Remove takes the place that was added last out of the world again. No pod
// may be planned there.
func (w *World) Remove(p *Place) {
	last := len(w.places) - 1
	if p.index != last {
		panic("fit: Remove of a place that is not the last one")
	}
	if p.index < w.tallied {
		w.detach(p)
		w.tallied--
	}
	w.places = w.places[:last]
	p.index = none
}

// Put plans n pods of the class for the place.
func (w *World) Put(p *Place, c *Class, n int) { w.plan(p, c, n) }

// Lift takes back what Put planned.
func (w *World) Lift(p *Place, c *Class, n int) { w.plan(p, c, -n) }

func (w *World) plan(p *Place, c *Class, n int) {
	p.Free.Take(c.Requests, n)
	if c.crowds() {
		p.crowding = counted(p.crowding, c, n)
		p.attached.add(c.volumes, n)
	}
	w.planVolumes(p, c, n)
	if !w.on && len(c.shunned) > 0 {
		w.start()
	}
	if !w.on {
		w.wait(c, siteOf(p, n, 0))
		return
	}
	w.catchUp()
	w.record(w.member(c), siteOf(p, n, 0))
}

// counted adds n pods of a class to the counts.
func counted(counts []Count, c *Class, n int) []Count {
	for i := range counts {
		if counts[i].Class != c {
			continue
		}
		if counts[i].N += n; counts[i].N == 0 {
			counts = append(counts[:i], counts[i+1:]...)
		}
		return counts
	}
	return append(counts, Count{Class: c, N: n})
}

// Verdict says why a pod may not go to a place.
type Verdict struct {
	// Why is a constant for each rule, "" if the pod may go there.
	Why string
	// Lasting is true if no pod planned anywhere can change that, but for one that
	// uses a volume which is attached already or a claim of this pod which is not
	// bound yet.
	Lasting bool
	// Zonewide is true if the pod may not go anywhere in the place's zone until
	// Version changes: to no node if the place is one, and else to no machine that
	// does not exist yet.
	Zonewide bool
}

// Check judges one more pod of the class on the place: room first, since most
// places are full, then every other rule.
func (w *World) Check(p *Place, c *Class) Verdict {
	if !p.Free.Holds(c.Requests) {
		return Verdict{Why: "resources", Lasting: true}
	}
	if why := p.admits(c, &w.scratch); why != "" {
		return Verdict{Why: why, Lasting: true}
	}
	if c.crowds() {
		if why := w.crowded(p, c); why != "" {
			return Verdict{Why: why, Lasting: true}
		}
	}
	if c.volumes.waits() {
		if _, why := w.bind(p, c); why != "" {
			return Verdict{Why: why, Lasting: true}
		}
	}
	if !w.on {
		if !c.related() {
			return Verdict{}
		}
		w.start()
	}
	w.catchUp()
	return w.relate(p, w.member(c))
}

// Tied reports whether a rule looks at the other pods of the node or of the
// cluster, so that pods of the class have to be judged one by one. Of others
// as many fit on a place that admits one as there is room for.
func (w *World) Tied(c *Class) bool { return c.related() || c.crowds() || c.volumes.waits() }

// Version changes whenever a Verdict on the class that is not Lasting may have
// changed.
func (w *World) Version(c *Class) int {
	if len(c.spread) == 0 && c.near == nil {
		return 0
	}
	if !w.on {
		w.start()
	}
	w.catchUp()
	own := w.rulesOf(w.member(c))
	version := 0
	for _, t := range own.near {
		version += t.version
	}
	for _, s := range own.spread {
		version += s.changed + s.version
	}
	return version
}

// Admits reports why the place would keep pods of the class off whatever room
// and whatever other pods it has; "" if it would not.
func (p *Place) Admits(c *Class) string { return p.admits(c, nil) }

func (p *Place) admits(c *Class, scratch *corev1.Node) string {
	if p.open && c.easy() {
		return ""
	}
	return p.shape.admits(c, p.name, p.labels, scratch)
}

// selects reports whether the class's node selector and affinity select the
// place.
func (w *World) selects(p *Place, c *Class) bool {
	return c.affinity == nil || c.selects(nodeOf(&w.scratch, p.name, p.labels))
}

// Preference is how much pods of the class like the place; more is better. It
// counts the weights of the preferred node affinity that is met, and every
// PreferNoSchedule taint that is not tolerated against the place.
func (w *World) Preference(p *Place, c *Class) int {
	liking := 0
	if c.preferred != nil {
		liking = int(c.preferred.Score(nodeOf(&w.scratch, p.name, p.labels)))
	}
	return liking - taintWeight*p.shape.deterrents(c)
}

// taintWeight is what one PreferNoSchedule taint counts against a place: as
// much as the heaviest preference that a pod can have.
const taintWeight = 100

// crowded says what of the node the pods there leave no room for.
func (w *World) crowded(p *Place, c *Class) string {
	if why := c.crowdedBy(p.standing); why != "" {
		return why
	}
	if why := c.crowdedBy(p.crowding); why != "" {
		return why
	}
	return w.attachable(p, c)
}

// crowdedBy says what the class cannot share with one of the others.
func (c *Class) crowdedBy(others []Count) string {
	for i := range others {
		other := others[i].Class
		switch {
		case len(c.ports) > 0 && conflicts(c.ports, other.ports):
			return "host ports"
		case c.volumes.conflict(other.volumes):
			return "disk in use"
		}
	}
	return ""
}
