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
	} else if value, ok := a.number(p); ok {
		number = value
	}
	if p.index < len(a.of) {
		a.of[p.index] = number
	} else {
		a.of = append(a.of, number)
	}
}

// number is that of the place's value, if its shape has one.
func (a *axis) number(p *Place) (int, bool) {
	value, ok := p.shape.Labels[a.key]
	if !ok {
		return none, false
	}
	if _, known := a.ids[value]; !known {
		a.ids[value] = a.values
		a.values++
	}
	return a.ids[value], true
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
	axis   *axis
	counts []int
	total  int
	// version changes when a place may have become one that is not empty of
	// pods, or the cluster empty of them: more of the same change no verdict.
	version int
}

func (t *tally) add(p *Place, n, _ int) {
	if t.axis != nil {
		value := t.axis.of[p.index]
		if value == none {
			return
		}
		t.counts = grown(t.counts, value)
		if t.counts[value] == 0 || t.counts[value]+n == 0 {
			t.version++
		}
		t.counts[value] += n
	}
	t.total += n
}

// at is how many pods stand where the place belongs to.
func (t *tally) at(p *Place) int {
	if value := t.axis.of[p.index]; value != none && value < len(t.counts) {
		return t.counts[value]
	}
	return 0
}

// domains is what a spread rule looks at: how many pods that are not being
// deleted stand in each domain, and the least of them. On a node the scheduler
// judges by the domains of the nodes that exist. On a machine that does not
// exist yet it will judge by all that do then.
type domains struct {
	tally
	rule  *spreadRule
	class *Class // any that has the rule
	// in tells which places count, nodes how many of them exist in each domain,
	// and places how many there are with those that do not.
	in            []bool
	nodes, places []int
	present, all  levels
	// expected are domains that a machine may come to, and absent is how many of
	// these have no place yet.
	expected []bool
	absent   int
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
	d.nodes, d.places = grown(d.nodes, value), grown(d.places, value)
	d.counts = grown(d.counts, value)
	if d.places[value]++; d.places[value] == 1 {
		d.all.raise(d.counts[value])
		d.change(value, -1)
	}
	if p.name != "" {
		if d.nodes[value]++; d.nodes[value] == 1 {
			d.present.raise(d.counts[value])
			d.version++
		}
	}
}

func (d *domains) leave(p *Place) {
	if !d.in[p.index] {
		return
	}
	d.in[p.index] = false
	value := d.axis.of[p.index]
	if d.places[value]--; d.places[value] == 0 {
		d.all.drop(d.counts[value])
		d.change(value, 1)
	}
	if p.name != "" {
		if d.nodes[value]--; d.nodes[value] == 0 {
			d.present.drop(d.counts[value])
			d.version++
		}
	}
}

// change counts one more or fewer of the expected domains as absent.
func (d *domains) change(value, n int) {
	if d.expects(value) {
		d.absent += n
		d.version++
	}
}

func (d *domains) expects(value int) bool { return value < len(d.expected) && d.expected[value] }

// expect adds a domain that a machine may come to.
func (d *domains) expect(value int) {
	for len(d.expected) <= value {
		d.expected = append(d.expected, false)
	}
	d.expected[value] = true
	if d.places = grown(d.places, value); d.places[value] == 0 {
		d.absent++
	}
}

func (d *domains) add(p *Place, n, terminating int) {
	n -= terminating
	if n == 0 || !d.in[p.index] {
		return
	}
	value := d.axis.of[p.index]
	before := d.counts[value]
	d.counts[value] += n
	changed := d.all.move(before, before+n)
	if d.nodes[value] > 0 {
		changed = d.present.move(before, before+n) || changed
	}
	if changed || n < 0 {
		d.version++
	}
}

// refuses reports whether one more pod on the place would be too much of a skew.
func (d *domains) refuses(p *Place, r *spreadRule) bool {
	from := &d.present
	if p.name == "" {
		from = &d.all
	}
	least := from.least
	switch {
	case from.size < r.minDomains:
		least = 0
	case p.name == "" && (d.axis.key == hostname || d.absent > 0):
		least = 0 // another machine may come beside it, without a pod
	}
	n := d.at(p) - least
	if r.self {
		n++
	}
	return n > r.maxSkew
}

// levels counts domains by their number of pods.
type levels struct {
	at map[int]int
	// least is the lowest number of pods, and size the number of domains.
	least, size int
}

func (l *levels) raise(n int) {
	if l.at == nil {
		l.at = map[int]int{}
	}
	l.size++
	l.at[n]++
	if l.size == 1 || n < l.least {
		l.least = n
	}
}

func (l *levels) drop(n int) {
	l.size--
	if l.at[n]--; l.at[n] > 0 {
		return
	}
	delete(l.at, n)
	if n != l.least {
		return
	}
	first := true
	for level := range l.at {
		if first || level < l.least {
			l.least, first = level, false
		}
	}
}

// move changes the number of pods of one domain, and reports whether the least
// is another one now.
func (l *levels) move(from, to int) bool {
	least := l.least
	l.raise(to)
	l.drop(from)
	return l.least != least
}

// grown returns the list long enough for the index.
func grown(list []int, index int) []int {
	if missing := index + 1 - len(list); missing > 0 {
		return append(list, make([]int, missing)...)
	}
	return list
}
