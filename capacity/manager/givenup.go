package manager

import (
	"maps"
	"sync"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// onItsWay is more than a request to the cloud that got no answer may still be on
// its way before it is carried out: no gateway keeps one for more than minutes.
const onItsWay = 15 * time.Minute

// givenUp are machines, by VMID, that were given up, and when the cloud was last to be
// asked to delete them. It is safe for concurrent use.
type givenUp struct {
	mu    sync.Mutex
	since map[string]time.Time
}

func (g *givenUp) add(vmid string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.since == nil {
		g.since = map[string]time.Time{}
	}
	g.since[vmid] = now
}

func (g *givenUp) has(vmid string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, is := g.since[vmid]
	return is
}

func (g *givenUp) drop(vmid string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.since, vmid)
}

// followGivenUp forgets the given-up machines that are gone, and those that are not
// being deleted although no request to do so can be on its way any more: such a
// machine may serve.
func (m *Manager) followGivenUp(o *observation) {
	blind := m.pools.failure() != nil // the lists may be old
	m.givenUp.mu.Lock()
	defer m.givenUp.mu.Unlock()
	maps.DeleteFunc(m.givenUp.since, func(vmid string, since time.Time) bool {
		for i := range o.snapshot.Pools {
			for _, machine := range o.snapshot.Pools[i].Instances {
				if machine.VMID == vmid {
					return !blind && machine.State != capacity.InstanceDeleting && o.snapshot.Now.Sub(since) >= onItsWay
				}
			}
		}
		return true
	})
}
