package capacity

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// veto says why the node must not be retired, "" if it may. Data on its disk would go
// with it, which is for an operator to decide.
func veto(n *Node, po *pool) string {
	if n.Volume != "" && n.Requested == "" {
		return n.volumeWhy()
	}
	return untouchable(n, po)
}

func (n *Node) volumeWhy() string { return "the data of volume " + n.Volume + " are on its disk" }

// untouchable says why nothing may be done to the node's machine, "" if that is not
// so. On any doubt which machine it is nothing is done.
func untouchable(n *Node, po *pool) string {
	switch {
	case n.Keep != "":
		return n.Keep
	case po == nil:
		return "it belongs to no pool"
	case po.Refused != "":
		return po.Name + ": " + po.Refused
	case !n.mapped():
		return "it is not certain which machine it is"
	}
	return ""
}

// mayGo reports whether nothing speaks against the node's retirement.
func (b *bin) mayGo() bool {
	if b.plain && b.pool != nil {
		return b.pool.Refused == ""
	}
	return veto(b.node, b.pool) == ""
}

// shrink marks the nodes whose absence the demand would not notice.
func (p *planner) shrink() {
	waiting := p.waitingClasses()
	candidates := map[*pool][]*bin{}
	p.searched = 0
	for _, b := range slices.Backward(p.bins) { // those that stay shortest are judged first
		if b.tier != tierReady || !b.mayGo() || b.planned > 0 || b.spare || b.reserved != nil || b.stay.rank > 0 || !b.plain && p.unadopted(b.node) {
			continue
		}
		if !p.wanted(b, waiting) && !p.settlingIn(b) {
			candidates[b.pool] = append(candidates[b.pool], b)
		}
	}
	for _, po := range p.pools {
		spare := po.staying - po.Settings.Min
		// The one that will be empty first goes first.
		slices.SortFunc(candidates[po], func(a, b *bin) int { return longestFirst(b, a) })
		for _, b := range candidates[po][:max(0, min(spare, len(candidates[po])))] {
			why := "no waiting pod needs it"
			if b.stay.pods > 0 {
				why = fmt.Sprintf("no waiting pod needs it; pods that still run on it: %d", b.stay.pods)
			}
			p.step(b.node, Step{Kind: StepMark, Why: why})
		}
	}
}

// waitingClasses returns the classes of the demand that has no place on a ready
// node, those with the same wish together. A gang that cannot be placed now would
// not run on the nodes that are there either, so it keeps none.
func (p *planner) waitingClasses() [][]*fit.Class {
	seen := map[*fit.Class]bool{}
	var kinds []*kind
	for _, u := range p.units {
		if u.gang && !u.placed {
			continue
		}
		for _, m := range u.members {
			if (m.bin == nil || m.bin.tier != tierReady) && !seen[m.kind.Class] && p.mostLater.Holds(m.kind.Requests) {
				seen[m.kind.Class] = true
				kinds = append(kinds, m.kind)
			}
		}
	}
	// The smallest is the most likely to fit somewhere.
	slices.SortStableFunc(kinds, func(a, b *kind) int { return cmp.Compare(a.size, b.size) })
	var waiting [][]*fit.Class
	number := map[*fit.Wish]int{}
	for _, k := range kinds {
		i, known := number[k.Wish()]
		if !known {
			i = len(waiting)
			number[k.Wish()] = i
			waiting = append(waiting, nil)
		}
		waiting[i] = append(waiting[i], k.Class)
	}
	return waiting
}

// wanted reports whether a waiting class could use the node, for which nothing is
// planned, once the work that ends by itself has ended.
func (p *planner) wanted(b *bin, waiting [][]*fit.Class) bool {
	if p.searched > manySearched {
		return true // on doubt it stays
	}
	return slices.ContainsFunc(waiting, func(alike []*fit.Class) bool {
		p.searched++
		return (alike[0].Pool == "" || b.pool.is(alike[0].Pool)) && b.place.Admits(alike[0]) == "" &&
			slices.ContainsFunc(alike, func(c *fit.Class) bool { return b.later.Holds(c.Requests) && !p.inVain(b, c) })
	})
}

// replacement is how long after the end of a pod its Job's controller, or a
// person's script, is given to come with the next one: controllers do so within
// a second or two. It is no more than half of the idle time, which runs from the
// end of the pod all the same.
const replacement = 5 * time.Second

// settlingIn reports whether the node lost work just now, which may be replaced
// at once, or received some a short while ago: where
// pods arrive one by one a mark would be taken back with each of them. The
// while is the time for which an empty machine is kept, for the same reason.
func (p *planner) settlingIn(b *bin) bool {
	if p.before(b.node.Freed.Add(min(replacement, b.pool.IdleAfter()/2))) {
		return true
	}
	load := b.node.load()
	return load.Work > 0 && p.before(load.Bound.Add(b.pool.IdleAfter()))
}

// restoreMinimum takes back as many retirements as the pool lacks machines for
// its minimum.
func (p *planner) restoreMinimum(po *pool) {
	short := po.Settings.Min - po.staying
	var retiring []*bin
	for _, b := range p.bins {
		if b.pool != po || b.tier != tierMarked && b.tier != tierFenced {
			continue
		}
		if b.planned > 0 || b.spare || veto(b.node, po) != "" {
			short-- // it is taken back anyway
			continue
		}
		retiring = append(retiring, b)
	}
	for _, b := range retiring[:max(0, min(short, len(retiring)))] {
		p.restore(b.node, fmt.Sprintf("the pool's minimum is %d", po.Settings.Min))
	}
}

// work returns the pods that keep the node from being empty, by name.
func (p *planner) work(n *Node) []*Pod {
	var work []*Pod
	for _, pod := range n.load().Pods {
		if pod.Work.IsWork() {
			work = append(work, pod)
		}
	}
	slices.SortFunc(work, func(a, b *Pod) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return work
}
