package fit

// axis is a node label that rules count by. Its values are numbered.
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
	a.of = set(a.of, p.index, number)
}

// number is that of the place's value, if its shape has one.
func (a *axis) number(p *Place) (int, bool) {
	value, ok := p.shape.Labels[a.key]
	if !ok {
		return none, false
	}
	number, known := a.ids[value]
	if !known {
		number = a.values
		a.values++
		a.ids[value] = number
	}
	return number, true
}

func (a *axis) leave(p *Place) {
	if p.name == "" && a.key == hostname {
		a.free = append(a.free, a.of[p.index])
	}
	a.of[p.index] = none
}

// at is the number of the value of the place of that index, none also for a
// place that was removed.
func (a *axis) at(place int) int {
	if place >= len(a.of) {
		return none
	}
	return a.of[place]
}

// set sets one item of a list, which may be the next one.
func set[T any](list []T, index int, value T) []T {
	if index == len(list) {
		return append(list, value)
	}
	list[index] = value
	return list
}

// numbers is a list of numbers, most of which are zero. While few are not it
// takes little memory, since there may be thousands of such lists.
type numbers struct {
	few  map[int]int
	many []int
}

func (n *numbers) at(i int) int {
	if n.many == nil {
		return n.few[i]
	}
	if i < len(n.many) {
		return n.many[i]
	}
	return 0
}

// add returns the new number.
func (n *numbers) add(i, more int) int {
	if n.many == nil {
		if n.few == nil {
			n.few = map[int]int{}
		}
		sum := n.few[i] + more
		if sum == 0 {
			delete(n.few, i)
			return 0
		}
		n.few[i] = sum
		if len(n.few) < 16 || len(n.few)*16 < i {
			return sum
		}
		for j := range n.few {
			n.reach(j)
			n.many[j] = n.few[j]
		}
		n.few = nil
		return sum
	}
	n.reach(i)
	n.many[i] += more
	return n.many[i]
}

// reach makes the list long enough for an index.
func (n *numbers) reach(i int) {
	if missing := i + 1 - len(n.many); missing > 0 {
		n.many = append(n.many, make([]int, missing)...)
	}
}

// counter counts pods by where they stand.
type counter interface {
	// add counts n more pods on the place of that index, of which so many are
	// being deleted.
	add(place, n, terminating int)
}

// tally counts pods along an axis, or with a nil axis in the whole cluster.
type tally struct {
	axis   *axis
	counts numbers
	total  int
	// version changes when a place may have become one that is not empty of
	// pods, or the cluster empty of them: more of the same change no verdict.
	version int
	// before are the counts when the world was frozen.
	before map[int]bool
}

// freeze remembers where pods stand now.
func (t *tally) freeze(w *World) {
	t.before = map[int]bool{}
	for _, p := range w.places[:w.tallied] {
		if t.at(p) > 0 {
			t.before[t.axis.of[p.index]] = true
		}
	}
}

func (t *tally) add(place, n, _ int) {
	if t.axis != nil {
		value := t.axis.at(place)
		if value == none {
			return
		}
		if sum := t.counts.add(value, n); sum == 0 || sum == n {
			t.version++
		}
	}
	t.total += n
}

// at is how many pods stand where the place belongs to.
func (t *tally) at(p *Place) int {
	if t.total == 0 {
		return 0
	}
	value := t.axis.of[p.index]
	if value == none {
		return 0
	}
	return t.counts.at(value)
}

// field is the places that count for spread rules with equal terms, and the
// domains that these places form along an axis. On a node the scheduler judges
// by the domains of the nodes that exist. On a machine that does not exist yet
// it will judge by all that do then.
type field struct {
	axis *axis
	// rule and class are any that have these terms.
	rule  *spreadRule
	class *Class
	// needs are the axes of the labels that a place must have to count.
	needs []*axis
	// in tells which places count.
	in []bool
	// present are the domains of nodes that exist, and all those of machines too
	// that do not exist yet.
	present, all extent
	// expected are domains that a machine may come to, and absent is how many of
	// these have no place yet.
	expected map[int]bool
	absent   int
	version  int
	tallies  []*spreadTally
}

// extent is how many places there are in each domain, and how many domains.
type extent struct {
	places numbers
	size   int
}

// add counts a place more or less, and reports whether a domain came or went.
func (e *extent) add(value, n int) bool {
	sum := e.places.add(value, n)
	switch {
	case n > 0 && sum == n:
		e.size++
	case n < 0 && sum == 0:
		e.size--
	default:
		return false
	}
	return true
}

func (f *field) enter(p *Place, in bool) {
	f.in = set(f.in, p.index, in)
	if in {
		f.count(p, 1)
	}
}

func (f *field) leave(p *Place) {
	if f.in[p.index] {
		f.count(p, -1)
	}
	f.in[p.index] = false
}

// count counts a place more or less in its domain.
func (f *field) count(p *Place, n int) {
	value := f.axis.of[p.index]
	if f.all.add(value, n) && f.expected[value] {
		f.absent -= n
		f.version++
	}
	if p.name == "" || !f.present.add(value, n) {
		return
	}
	f.version++
	for _, s := range f.tallies {
		if n > 0 {
			s.present.move(0, s.counts.at(value))
		} else {
			s.present.move(s.counts.at(value), 0)
		}
	}
}

// expect adds a domain that a machine may come to.
func (f *field) expect(value int) {
	if f.expected == nil {
		f.expected = map[int]bool{}
	}
	if !f.expected[value] && f.all.places.at(value) == 0 {
		f.absent++
	}
	f.expected[value] = true
}

// spreadTally counts the pods that are not being deleted in each domain of a
// field.
type spreadTally struct {
	*field
	counts       numbers
	present, all levels
	// changed changes when the least of the domains may have.
	changed int
	// frozen is true once floor is the most that the least of the domains of
	// nodes that exist may be.
	frozen bool
	floor  int
}

func (s *spreadTally) add(place, n, terminating int) {
	n -= terminating
	value := s.axis.at(place)
	if n == 0 || value == none || !s.in[place] {
		return
	}
	present, all := s.present.lowest(s.field.present.size), s.all.lowest(s.field.all.size)
	sum := s.counts.add(value, n)
	s.all.move(sum-n, sum)
	if s.field.present.places.at(value) > 0 {
		s.present.move(sum-n, sum)
	}
	if n < 0 || present != s.present.lowest(s.field.present.size) || all != s.all.lowest(s.field.all.size) {
		s.changed++
	}
}

// refuses reports whether one more pod on the place would be too much of a skew.
func (s *spreadTally) refuses(p *Place, r *spreadRule) bool {
	domains, size := &s.present, s.field.present.size
	if p.name == "" {
		domains, size = &s.all, s.field.all.size
	}
	least := domains.lowest(size)
	if s.frozen {
		least = min(least, s.floor)
	}
	switch {
	case size < r.minDomains:
		least = 0
	case p.name == "" && (s.axis.key == hostname || s.absent > 0):
		least = 0 // another machine may come beside it, without a pod
	}
	n := s.counts.at(s.axis.of[p.index]) - least
	if r.self {
		n++
	}
	return n > r.maxSkew
}

// levels counts the domains that have any pod by their number of pods.
type levels struct {
	at map[int]int
	// occupied is their sum, and least the lowest number of pods.
	occupied, least int
}

// lowest is the least number of pods in any of so many domains.
func (l *levels) lowest(domains int) int {
	if l.occupied < domains {
		return 0
	}
	return l.least
}

// move changes the number of pods of one domain.
func (l *levels) move(from, to int) {
	if to > 0 {
		if l.at == nil {
			l.at = map[int]int{}
		}
		l.occupied++
		l.at[to]++
		if l.occupied == 1 || to < l.least {
			l.least = to
		}
	}
	if from == 0 {
		return
	}
	l.occupied--
	if l.at[from]--; l.at[from] > 0 {
		return
	}
	delete(l.at, from)
	if from != l.least {
		return
	}
	l.least = 0
	for level := range l.at {
		if l.least == 0 || level < l.least {
			l.least = level
		}
	}
}
