package capacity

import (
	"slices"
	"strings"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// Memory makes plans that follow one another quicker: what was found out about a
// node is kept for as long as the node stays the same. A Memory decides what Plan
// does. The zero value is ready for use, by one goroutine at a time.
type Memory struct {
	now     time.Time
	daemons []*fit.Class
	pools   []poolBasis
	// nodes are in the order of names.
	nodes []remembered
	// order is that in which demand is placed on the nodes, by number.
	order   []int
	scratch scratch
}

// poolBasis is what a node's part in a plan depends on of its pool.
type poolBasis struct {
	name, refused string
	shape         *fit.Shape
}

// remembered is a node as it comes into a plan, before anything is placed there.
type remembered struct {
	bin   // but for its place and its pool
	place fit.Place
	// allocatable is what the node has for pods and DaemonSets' in all.
	allocatable fit.Resources
	pool        int // its number, none for a node outside every pool
	// lasts is true if time alone changes nothing about it.
	lasts bool
}

const none = -1

// Plan decides what to do; see the function Plan.
func (m *Memory) Plan(s Snapshot) Decision {
	p := newPlanner(s, m)
	defer p.scratch.reset()
	p.place()
	p.keepBuffers()
	p.release()
	p.grow()
	p.shrink()
	p.roll()
	p.retire()
	p.repair()
	p.protect()
	p.approve()
	p.explain()
	return p.decision
}

// place finds the demand and its places.
func (p *planner) place() {
	p.holdNominated()
	p.addUnits()
	p.expect()
	p.serve()
}

// sort returns the nodes in the order of names.
func (m *Memory) sort(nodes []*Node) []*Node {
	sorted := true
	known := false // the node before
	for i, n := range nodes {
		same := i < len(m.nodes) && m.nodes[i].node == n
		if i > 0 && !(known && same) && nodes[i-1].Name > n.Name {
			sorted = false
			break
		}
		known = same
	}
	if !sorted {
		nodes = slices.Clone(nodes)
		slices.SortFunc(nodes, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
	}
	return nodes
}

// align brings what is known of the plan's nodes into their order. What is known
// of one that has changed is left empty, and so is all of it if something has
// changed that every node's part in a plan depends on.
func (m *Memory) align(p *planner) {
	nodes, known := p.snapshot.Nodes, m.nodes
	if len(known) != len(nodes) {
		m.nodes = make([]remembered, len(nodes))
		for i, n := range nodes {
			if at, found := slices.BinarySearchFunc(known, n.Name, byName); found {
				m.nodes[i] = known[at]
			}
		}
	}
	for i, n := range nodes {
		if r := &m.nodes[i]; r.node != n || !r.lasts {
			*r = remembered{}
			p.refuseServer(n)
		}
	}
	if !m.follows(p) {
		for i, n := range nodes {
			m.nodes[i] = remembered{}
			p.refuseServer(n)
		}
	}
}

func byName(r remembered, name string) int { return strings.Compare(r.node.Name, name) }

// follows reports whether what every node's part in a plan depends on is the same
// as for the plan before, and notes it for the next one.
func (m *Memory) follows(p *planner) bool {
	s := p.snapshot
	pools := make([]poolBasis, 0, len(p.pools))
	for _, po := range p.pools {
		pools = append(pools, poolBasis{po.Name, po.Refused, po.Shape})
	}
	same := !s.Now.Before(m.now) && slices.Equal(m.daemons, s.Daemons) && slices.Equal(m.pools, pools)
	m.now, m.daemons, m.pools = s.Now, s.Daemons, pools
	return same
}

// sortNodes brings the order up to date. It is nearly the one of the plan before,
// and such a list is sorted at a glance.
func (m *Memory) sortNodes(bins []bin) {
	if len(m.order) != len(bins) {
		m.order = m.order[:0]
		for i := range bins {
			m.order = append(m.order, i)
		}
	}
	slices.SortFunc(m.order, func(a, b int) int { return longestFirst(&bins[a], &bins[b]) })
}

// refuseServer refuses a pool that has a server of the cluster.
func (p *planner) refuseServer(n *Node) {
	if po := p.poolOf(n); po != nil && n.Server && po.Refused == "" {
		po.Refused = "its machine " + n.Name + " is a server of the cluster"
	}
}

// remember finds out about a node what does not depend on others.
func (p *planner) remember(n *Node) remembered {
	r := remembered{pool: none, allocatable: n.Allocatable, bin: bin{node: n, pool: p.poolOf(n), plain: n.plain(), outdated: n.Instance.Outdated}}
	shape, takes := p.nodeShape(&r.bin)
	r.zoneName = zoneOf(shape)
	r.place = fit.PlaceOf(shape, n.Name, p.freeOn(n, shape), n.load().Counts)
	if takes {
		r.takes, r.stay, r.later = true, stayOf(&r.bin), r.place.Free.Add(n.load().Batch)
	}
	young := n.Instance.VMID != "" && r.bin.pool != nil && p.mayJoin(r.bin.pool, n.Instance)
	if young {
		p.joined[n.Instance.VMID] = true
	}
	starting := p.starting(n, r.bin.pool)
	if po := r.bin.pool; po != nil {
		r.pool, r.bin.pool = po.number, nil
	}
	unlisted := n.Recorded != "" && n.Instance.VMID == ""
	r.lasts = !young && !starting && !r.promised && !unlisted && !n.Server && n.Restart == nil && len(n.Interruptions) == 0
	return r
}
