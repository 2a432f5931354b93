package fit

import "maps"

// Count is how many pods of a class stand together.
type Count struct {
	Class *Class
	N     int
	// Terminating are how many of them are being deleted.
	Terminating int
}

// World is where pods stand, or would stand if a plan were carried out.
type World struct{}

// NewWorld returns a world without places.
func NewWorld() *World { return &World{} }

// Place is a node in a World, or a machine that does not exist yet.
type Place struct {
	shape *Shape
	name  string
	// Free is what is left for pods.
	Free Resources
	// standing are the pods that were there from the start; it is shared with
	// the caller and read only.
	standing []Count
}

// Add adds a node with so much room left beside the pods that stand on it; the
// name is "" for a machine that does not exist yet, which has a host name of
// its own.
func (w *World) Add(shape *Shape, name string, free Resources, standing []Count) *Place {
	free.Scalar = maps.Clone(free.Scalar)
	return &Place{shape: shape, name: name, Free: free, standing: standing}
}

// Reshape turns a place without planned pods that does not exist yet into
// another one.
func (w *World) Reshape(p *Place, shape *Shape, free Resources) {
	free.Scalar = maps.Clone(free.Scalar)
	p.shape, p.Free = shape, free
}

// Admits reports why the place would keep pods of the class off whatever room
// and whatever other pods it has; "" if it would not.
func (p *Place) Admits(c *Class) string { return p.shape.Admits(c, p.name) }

// Preference is how much pods of the class like the place; more is better.
func (w *World) Preference(*Place, *Class) int { return 0 }

// Prefers reports whether pods of the class like some places better than
// others.
func (c *Class) Prefers() bool { return false }

// Remove takes a place without planned pods out of the world again.
func (w *World) Remove(*Place) {}

// Put plans n pods of the class onto the place, and Lift takes them back.
func (w *World) Put(p *Place, c *Class, n int) { p.Free.Take(c.Requests, n) }

// Lift takes back what Put planned.
func (w *World) Lift(p *Place, c *Class, n int) { p.Free.Take(c.Requests, -n) }

// Verdict says why a pod may not go to a place.
type Verdict struct {
	// Why is a constant for each rule, "" if the pod may go there.
	Why string
	// Lasting is true if no pod planned anywhere can change that.
	Lasting bool
}

// Check judges one more pod of the class on the place: room first, since most
// places are full, then every other rule.
func (w *World) Check(p *Place, c *Class) Verdict {
	if !p.Free.Holds(c.Requests) {
		return Verdict{"resources", true}
	}
	return Verdict{p.shape.Admits(c, p.name), true}
}

// Tied reports whether a rule looks at the other pods of the node or of the
// cluster, so that pods of the class have to be judged one by one. Of others
// as many fit on a place that admits one as there is room for.
func (w *World) Tied(*Class) bool { return false }

// Version changes whenever a Verdict on the class that is not Lasting may have
// changed.
func (w *World) Version(*Class) int { return 0 }
