package capacity

// keepBuffers keeps as many empty machines in each pool as its buffer asks for,
// after everything that waits was served: machines that are there, marked ones,
// those on their way, then new ones.
func (p *planner) keepBuffers() {
	for _, po := range p.pools {
		if po.Refused != "" || !po.Listed || po.Shape == nil {
			continue
		}
		want := p.bufferOf(po)
		for _, b := range p.bins {
			if want > 0 && b.pool == po && b.empty() && (b.node == nil || veto(b.node, po) == "" || b.node.Keep != "" || b.node.Volume != "") {
				b.spare = true
				want--
			}
		}
		for ; want > 0 && p.closed(po) == ""; want-- {
			b := p.machine(po, po.nextZone(), tierNew)
			p.spend(b, 1)
			b.spare = true
			po.spare++
			p.bins = append(p.bins, b)
		}
	}
}

// bufferOf is how many machines the pool's buffer asks for: a number, or a
// share of the machines that have work.
func (p *planner) bufferOf(po *pool) int {
	busy := 0
	for _, b := range p.bins {
		if b.pool == po && !b.empty() {
			busy++
		}
	}
	return po.Settings.Buffer.Of(busy)
}

// empty reports whether no work is on the machine or planned for it.
func (b *bin) empty() bool {
	return !b.dropped && b.planned == 0 && b.stay.pods == 0 && b.reserved == nil
}
