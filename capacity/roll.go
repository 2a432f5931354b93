package capacity

import (
	"cmp"
	"slices"
	"strings"
)

// findRolling returns the nodes that are being replaced because their machines
// lack the latest model: of each pool the first of those that are marked, as many
// as its maximum of surge. Demand does not take these back but buys machines of
// the latest model; of the others it does, so that no more than that many extra
// machines are there at once.
func (p *planner) findRolling() map[*Node]bool {
	marked := map[*pool][]*Node{}
	for _, b := range p.noted {
		n := b.node
		if !n.Instance.Outdated || n.Retirement == nil || n.Deleting != "" || n.Restart != nil {
			continue
		}
		if b.pool != nil && veto(n, b.pool) == "" {
			marked[b.pool] = append(marked[b.pool], n)
		}
	}
	rolling := map[*Node]bool{}
	for po, list := range marked {
		slices.SortFunc(list, func(a, b *Node) int {
			return cmp.Or(a.Retirement.Since.Compare(b.Retirement.Since.Time), strings.Compare(a.Name, b.Name))
		})
		for _, n := range list[:min(po.surge(), len(list))] {
			rolling[n] = true
		}
	}
	return rolling
}

// surge is how many machines of the pool are replaced at a time.
func (po *pool) surge() int { return po.Settings.MaxSurge.Of(po.Capacity) }

// roll marks nodes whose machines lack the latest model although demand may
// notice, those first that will be empty first. A pool that is refused machines
// keeps those that it has.
func (p *planner) roll() {
	replaced := map[*pool]int{}
	for n := range p.rolling {
		replaced[p.poolOf(n)]++
	}
	candidates := map[*pool][]*bin{}
	for _, b := range p.bins {
		if b.tier == tierReady && b.outdated && b.mayGo() && b.planned == 0 && b.reserved == nil && b.stay.rank == 0 && !p.stepped[b.node] {
			candidates[b.pool] = append(candidates[b.pool], b)
		}
	}
	for _, po := range p.pools {
		slices.SortFunc(candidates[po], func(a, b *bin) int { return longestFirst(b, a) })
		left := max(0, po.surge()-replaced[po])
		if len(candidates[po]) == 0 || left == 0 || p.before(po.AwayUntil) {
			continue
		}
		for _, b := range candidates[po][:min(left, len(candidates[po]))] {
			p.step(b.node, Step{Kind: StepMark, Why: modelWhy(true)})
		}
	}
}

func modelWhy(outdated bool) string {
	if outdated {
		return "its machine lacks the scale set's latest model"
	}
	return "its machine has the scale set's latest model"
}
