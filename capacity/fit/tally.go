package fit

// axis is a node label that rules count by. Its values are numbered, so that a
// tally is a list.
type axis struct {
	key string
	// of is the number of each place's value, none if it lacks the label.
	of  []int
	ids map[string]int
	// values is how many numbers were given, and free are those of machines
	// that do not exist any more.
	values int
	free   []int
}

const none = -1

func (a *axis) enter(p *Place) {
	number := none
	if p.name == "" && a.key == hostname {
		if last := len(a.free) - 1; last >= 0 {
			number, a.free = a.free[last], a.free[:last]
		} else {
			number = a.values
			a.values++
		}
	} else if value, ok := p.shape.Labels[a.key]; ok {
		known := false
		if number, known = a.ids[value]; !known {
			number = a.values
			a.values++
			a.ids[value] = number
		}
	}
	if p.index < len(a.of) {
		a.of[p.index] = number
	} else {
		a.of = append(a.of, number)
	}
}

func (a *axis) leave(p *Place) {
	if p.name == "" && a.key == hostname {
		a.free = append(a.free, a.of[p.index])
	}
	a.of[p.index] = none
}

// counter counts pods by where they stand.
type counter interface {
	// add counts n more pods on a place, of which so many are being deleted.
	add(p *Place, n, terminating int)
}

// tally counts pods along an axis, or with a nil axis in the whole cluster.
type tally struct {
	axis    *axis
	counts  []int
	total   int
	version int
}

func (t *tally) add(p *Place, n, _ int) {
	if t.axis != nil {
		value := t.axis.of[p.index]
		if value == none {
			return
		}
		t.counts = grown(t.counts, value)
		t.counts[value] += n
	}
	t.total += n
	t.version++
}

// at is how many pods stand where the place belongs to.
func (t *tally) at(p *Place) int {
	if value := t.axis.of[p.index]; value != none && value < len(t.counts) {
		return t.counts[value]
	}
	return 0
}

// domains is what a spread rule looks at: how many pods that are not being
// deleted stand in each domain, and the least of them.
type domains struct {
	tally
	rule  *spreadRule
	class *Class // any that has the rule
	// in tells which places count, and nodes how many do in each domain.
	in    []bool
	nodes []int
	// levels counts the domains by their number of pods; least is the lowest.
	levels map[int]int
	least  int
	// size is the number of domains.
	size int
}

func (d *domains) enter(p *Place, in bool) {
	if p.index < len(d.in) {
		d.in[p.index] = in
	} else {
		d.in = append(d.in, in)
	}
	if !in {
		return
	}
	value := d.axis.of[p.index]
	d.nodes = grown(d.nodes, value)
	d.counts = grown(d.counts, value)
	if d.nodes[value]++; d.nodes[value] == 1 {
		d.size++
		d.version++
		d.raise(d.counts[value])
	}
}

func (d *domains) leave(p *Place) {
	if !d.in[p.index] {
		return
	}
	d.in[p.index] = false
	value := d.axis.of[p.index]
	if d.nodes[value]--; d.nodes[value] == 0 {
		d.size--
		d.version++
		d.drop(d.counts[value])
	}
}

func (d *domains) add(p *Place, n, terminating int) {
	n -= terminating
	if n == 0 || !d.in[p.index] {
		return
	}
	value := d.axis.of[p.index]
	d.version++
	d.counts[value] += n
	d.raise(d.counts[value])
	d.drop(d.counts[value] - n)
}

func (d *domains) raise(n int) {
	d.levels[n]++
	if len(d.levels) == 1 || n < d.least {
		d.least = n
	}
}

func (d *domains) drop(n int) {
	if d.levels[n]--; d.levels[n] > 0 {
		return
	}
	delete(d.levels, n)
	if n != d.least {
		return
	}
	first := true
	for level := range d.levels {
		if first || level < d.least {
			d.least, first = level, false
		}
	}
}

// refuses reports whether one more pod on the place would be too much of a skew.
func (d *domains) refuses(p *Place, r *spreadRule) bool {
	least := d.least
	if d.size < r.minDomains {
		least = 0
	}
	n := d.at(p) - least
	if r.self {
		n++
	}
	return n > r.maxSkew
}

// grown returns the list long enough for the index.
func grown(list []int, index int) []int {
	if missing := index + 1 - len(list); missing > 0 {
		return append(list, make([]int, missing)...)
	}
	return list
}
