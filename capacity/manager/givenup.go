package manager

import (
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// onItsWay is more than a request to the cloud that got no answer may still be on
// its way before it is carried out: no gateway keeps one for more than minutes.
const onItsWay = 15 * time.Minute

// givenUp are machines, by VMID, that were given up, and when the cloud was last to be
// asked to delete them; the zero time if it is yet to be. That they are is published
// before the cloud is asked, so that the next leader knows. It is safe for concurrent
// use.
type givenUp struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// set notes when the cloud is to be asked, and returns what was noted before.
func (g *givenUp) set(vmid string, now time.Time) (before time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.since == nil {
		g.since = map[string]time.Time{}
	}
	before = g.since[vmid]
	g.since[vmid] = now
	return before
}

// has reports whether the machine's deletion may be under way. While the cloud is yet
// to be asked a node that is the machine keeps it from being asked.
func (g *givenUp) has(vmid string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.since[vmid].IsZero()
}

// published is what other leaders need to know.
func (g *givenUp) published() map[string]metav1.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	published := make(map[string]metav1.Time, len(g.since))
	for vmid, since := range g.since {
		published[vmid] = metav1.NewTime(since)
	}
	return published
}

// restore takes over what an earlier leader published. Where it was about to ask
// nobody knows whether it has.
func (g *givenUp) restore(published map[string]metav1.Time, now time.Time) {
	for vmid, since := range published {
		if since.IsZero() {
			since.Time = now
		}
		g.set(vmid, since.Time)
	}
}

// followGivenUp notes the machines that are about to be given up, and forgets those
// that are not any more, those that are gone, and those that are not
// being deleted although no request to do so can be on its way any more: such a
// machine may serve.
func (m *Manager) followGivenUp(o *observation, d capacity.Decision) {
	blind := m.pools.failure() != nil // the lists may be old
	m.givenUp.mu.Lock()
	defer m.givenUp.mu.Unlock()
	planned := map[string]time.Time{}
	for _, r := range d.Repairs {
		if !r.Report {
			planned[r.Instance.VMID] = m.givenUp.since[r.Instance.VMID]
		}
	}
	maps.DeleteFunc(m.givenUp.since, func(vmid string, since time.Time) bool {
		if since.IsZero() {
			return true // but for the planned ones
		}
		for i := range o.snapshot.Pools {
			for _, machine := range o.snapshot.Pools[i].Instances {
				if machine.VMID == vmid {
					return !blind && machine.State != capacity.InstanceDeleting && o.snapshot.Now.Sub(since) >= onItsWay
				}
			}
		}
		return !blind
	})
	if m.givenUp.since == nil {
		m.givenUp.since = map[string]time.Time{}
	}
	maps.Copy(m.givenUp.since, planned)
}
