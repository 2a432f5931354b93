package capacity

import (
	"slices"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// blockSize is how many bins one block sums up.
const blockSize = 64

// queue is bins in the order in which demand is placed, with what each block of
// them has at most, so that a search passes over a full one at a glance.
type queue struct {
	bins   []*bin
	blocks []fit.Resources
}

// zoneQueue are the bins of one zone that are nodes, or that are none yet: rules to
// spread pods over zones, or to keep them together in one, judge these alike.
type zoneQueue struct {
	zone  string
	nodes bool
	queue
}

// add puts a bin at the end, and returns its place.
func (q *queue) add(b *bin) int {
	at := len(q.bins)
	q.bins = append(q.bins, b)
	if at%blockSize == 0 {
		q.blocks = append(q.blocks, b.place.Free)
	} else {
		q.raise(at, b)
	}
	return at
}

// raise notes that the bin at that place has more room than before.
func (q *queue) raise(at int, b *bin) {
	most := &q.blocks[at/blockSize]
	*most = most.Max(b.place.Free)
}

// sum notes anew what the block with the bin at that place has at most.
func (q *queue) sum(at int) {
	first := at - at%blockSize
	most := fit.Resources{}
	for _, b := range q.bins[first:min(first+blockSize, len(q.bins))] {
		most = most.Max(b.place.Free)
	}
	q.blocks[at/blockSize] = most
}

// cut leaves the first n bins.
func (q *queue) cut(n int) {
	q.bins, q.blocks = q.bins[:n], q.blocks[:(n+blockSize-1)/blockSize]
}

// progress is how far the bins were searched for a kind: all of them or, where a
// rule of it counts pods by zones, those of each zone.
type progress struct {
	all   scan
	zones []scan
}

func (p progress) clone() progress {
	p.zones = slices.Clone(p.zones)
	return p
}

// scan is how far a queue was searched. Bins only fill, so those before floor have
// no room for the kind any more, and those before next none until version changes.
type scan struct{ floor, next, version int }

// pass notes that the bins before number i have no room for the kind.
func (s *scan) pass(i int, lasting bool) {
	if lasting && s.floor == s.next {
		s.floor = i
	}
	s.next = i
}

// enqueue puts the bin at the end of its queues.
func (p *planner) enqueue(b *bin) {
	b.at = p.queue.add(b)
	if p.zonal {
		z := p.zoneQueue(b)
		b.queue, b.inZone = z, p.zones[z].add(b)
	}
}

// zoneQueue is the number of the bin's queue among those of the zones.
func (p *planner) zoneQueue(b *bin) int {
	for i := range p.zones {
		if z := &p.zones[i]; z.zone == b.zoneName && z.nodes == (b.node != nil) {
			return i
		}
	}
	p.zones = append(p.zones, zoneQueue{zone: b.zoneName, nodes: b.node != nil})
	return len(p.zones) - 1
}

// raise notes that the bin has more room than before.
func (p *planner) raise(b *bin) {
	p.queue.raise(b.at, b)
	if p.zonal {
		p.zones[b.queue].raise(b.inZone, b)
	}
}

// dequeue takes the bins from number first on, which were enqueued last, out of
// their queues.
func (p *planner) dequeue(first int) {
	if p.zonal {
		for _, b := range slices.Backward(p.bins[first:]) {
			p.zones[b.queue].cut(b.inZone)
		}
	}
	p.queue.cut(first)
}

// first returns the first bin with room for one more pod of the kind, nil if there
// is none; only one that is there if the pod may not have a machine bought.
func (p *planner) first(k *kind, buys bool) *bin {
	s := search{k, p.world.Version(k.Class), buys, len(p.bins)}
	if !k.zonal {
		return p.search(&p.queue, &k.progress.all, s)
	}
	for len(k.progress.zones) < len(p.zones) {
		k.progress.zones = append(k.progress.zones, scan{})
	}
	var first *bin
	for i := range p.zones {
		if b := p.search(&p.zones[i].queue, &k.progress.zones[i], s); b != nil {
			first, s.before = b, b.at
		}
	}
	return first
}

// search is one for a bin with a number below before.
type search struct {
	kind    *kind
	version int
	buys    bool
	before  int
}

// search goes on where the last search of that queue for the kind ended.
func (p *planner) search(q *queue, at *scan, s search) *bin {
	if at.version != s.version {
		at.version, at.next = s.version, at.floor
	}
	for i := at.next; i < len(q.bins); {
		block := &q.blocks[i/blockSize]
		end := min(i-i%blockSize+blockSize, len(q.bins))
		if !block.Holds(s.kind.Requests) {
			at.pass(end, true)
			i = end
			continue
		}
		whole := i%blockSize == 0
		for ; i < end; i++ {
			b := q.bins[i]
			if b.at >= s.before || !s.buys && b.tier >= tierComing {
				return nil
			}
			verdict := p.check(b, s.kind.Class)
			if verdict.Why == "" {
				return b
			}
			if s.kind.zonal && verdict.Zonewide {
				return nil
			}
			at.pass(i+1, verdict.Lasting)
		}
		if whole {
			q.sum(end - 1)
		}
	}
	return nil
}
