package fit

import (
	"slices"
	"strings"
)

// relations are the rules about pods elsewhere: spread, affinity and
// anti-affinity, and claims that only one pod may use. Each is a tally that is
// made when the first class that needs it is judged, and kept up to date from
// then on, so that to judge one more pod takes no look at the others.
type relations struct {
	// on is true once a class has such a rule; until then nothing is tallied.
	on bool
	// tallied is how many of the world's places are in the tallies.
	tallied int
	// early is what was planned before.
	early []sited

	axes    map[string]*axis
	members map[*Class]*member
	last    *member
	crowds  map[*selection]*crowd
	// Which members and crowds may have to do with each other: by a label that
	// the crowd demands, else all.
	membersBy map[label][]*member
	all       []*member
	crowdsBy  map[label][]*crowd
	anyLabel  []*crowd

	near    map[term]*tally  // pods that the selection picks
	holders map[*term]*tally // pods that have the term as anti-affinity
	users   map[string]*tally
	fields  map[fieldKey]*field
	spread  map[spreadKey]*spreadTally
}

type label struct{ name, value string }

type fieldKey struct{ key, nodes string }

type spreadKey struct {
	who    *selection
	field  *field
	counts bool
}

type sited struct {
	class *Class
	site
}

// site is how many pods stand or are planned on the place of that index, or
// with negative numbers do no more. Those of a place that was removed add up to
// nothing.
type site struct{ place, n, terminating int32 }

func siteOf(p *Place, n, terminating int) site {
	return site{int32(p.index), int32(n), int32(terminating)}
}

// member is a class that stands, is planned or is judged somewhere.
type member struct {
	class *Class
	sites []site
	// counters count the class's pods.
	counters []counter
	// refusals are the tallies of anti-affinity terms that pick the class:
	// where one has a pod, none of the class may go.
	refusals []*tally
	// rules are the class's own, nil until it is judged.
	rules *rules
}

type rules struct {
	shunned, near, exclusive []*tally
	spread                   []*spreadTally
}

// crowd is the members that a selection picks.
type crowd struct {
	who      *selection
	members  []*member
	counters []counter
	refusals []*tally
}

// start makes the tallies ready for use.
func (w *World) start() {
	w.on = true
	w.axes = map[string]*axis{}
	w.members = map[*Class]*member{}
	w.crowds = map[*selection]*crowd{}
	w.membersBy = map[label][]*member{}
	w.crowdsBy = map[label][]*crowd{}
	w.near = map[term]*tally{}
	w.holders = map[*term]*tally{}
	w.users = map[string]*tally{}
	w.fields = map[fieldKey]*field{}
	w.spread = map[spreadKey]*spreadTally{}
}

// wait notes what was planned before there was a tally.
func (w *World) wait(c *Class, s site) {
	last := len(w.early) - 1
	if last+1 == cap(w.early) {
		w.early = slices.Grow(w.early, last+64)
	}
	if last < 0 || w.early[last].class != c || w.early[last].place != s.place {
		w.early = append(w.early, sited{c, s})
	} else if w.early[last].n += s.n; w.early[last].n == 0 {
		w.early = w.early[:last]
	}
}

// catchUp tallies the places and pods that came since the last time.
func (w *World) catchUp() {
	for w.tallied < len(w.places) {
		w.attach(w.places[w.tallied])
	}
	for _, s := range w.early {
		w.record(w.member(s.class), s.site)
	}
	w.early = w.early[:0]
}

// attach counts a place, the next one or one that was detached.
func (w *World) attach(p *Place) {
	for _, a := range w.axes {
		a.enter(p)
	}
	for _, f := range w.fields {
		f.enter(p, w.countsAttached(f, p))
	}
	w.tallied = max(w.tallied, p.index+1)
	for i := range p.standing {
		c := &p.standing[i]
		w.record(w.member(c.Class), siteOf(p, c.N, c.Terminating))
	}
}

// detach counts a place no more. No pod is planned there.
func (w *World) detach(p *Place) {
	for i := range p.standing {
		c := &p.standing[i]
		w.record(w.member(c.Class), siteOf(p, -c.N, -c.Terminating))
	}
	for _, f := range w.fields {
		f.leave(p)
	}
	for _, a := range w.axes {
		a.leave(p)
	}
}

// counts reports whether the place would count as part of a domain if it were
// attached.
func (w *World) counts(f *field, p *Place) bool {
	for _, key := range f.rule.keys {
		if _, ok := p.labels[key]; !ok {
			return false
		}
	}
	return w.includes(f, p)
}

// countsAttached says the same of a place of which the axes know the labels
// already.
func (w *World) countsAttached(f *field, p *Place) bool {
	for _, a := range f.needs {
		if a.of[p.index] == none {
			return false
		}
	}
	return w.includes(f, p)
}

// includes follows the rule's policies for the affinity and the taints of nodes.
func (w *World) includes(f *field, p *Place) bool {
	return (!f.rule.honoursAffinity || w.selects(p, f.class)) &&
		(!f.rule.honoursTaint || p.shape.untolerated(f.class) == nil)
}

// record counts more or fewer pods of a member on a place.
func (w *World) record(m *member, s site) {
	m.sites = merged(m.sites, s)
	for _, c := range m.counters {
		c.add(int(s.place), int(s.n), int(s.terminating))
	}
}

// merged appends a site, or adds it to the last one.
func merged(sites []site, s site) []site {
	last := len(sites) - 1
	if last < 0 || sites[last].place != s.place {
		return append(sites, s)
	}
	sites[last].n += s.n
	sites[last].terminating += s.terminating
	if sites[last].n == 0 {
		return sites[:last]
	}
	return sites
}

// member returns what is known of the class.
func (w *World) member(c *Class) *member {
	if w.last != nil && w.last.class == c {
		return w.last
	}
	m, ok := w.members[c]
	if !ok {
		m = w.meet(c)
	}
	w.last = m
	return m
}

// meet makes a class a member.
func (w *World) meet(c *Class) *member {
	m := &member{class: c}
	w.members[c] = m
	w.all = append(w.all, m)
	for name, value := range c.labels {
		w.membersBy[label{name, value}] = append(w.membersBy[label{name, value}], m)
		for _, other := range w.crowdsBy[label{name, value}] {
			other.consider(m)
		}
	}
	for _, other := range w.anyLabel {
		other.consider(m)
	}
	for _, t := range c.shunned {
		m.counters = append(m.counters, w.holdersOf(t))
	}
	for _, claim := range c.volumes.exclusiveClaims() {
		m.counters = append(m.counters, w.usersOf(claim))
	}
	return m
}

// crowd returns the members that the selection picks.
func (w *World) crowd(who *selection) *crowd {
	if known, ok := w.crowds[who]; ok {
		return known
	}
	c := &crowd{who: who}
	w.crowds[who] = c
	name, values, ok := who.demands()
	if !ok {
		w.anyLabel = append(w.anyLabel, c)
		for _, m := range w.all {
			c.consider(m)
		}
		return c
	}
	for _, value := range values {
		w.crowdsBy[label{name, value}] = append(w.crowdsBy[label{name, value}], c)
		for _, m := range w.membersBy[label{name, value}] {
			c.consider(m)
		}
	}
	return c
}

// consider takes a member into the crowd if it is picked.
func (c *crowd) consider(m *member) {
	if !c.who.picks(m.class) {
		return
	}
	c.members = append(c.members, m)
	m.refusals = append(m.refusals, c.refusals...)
	for _, counter := range c.counters {
		m.countBy(counter)
	}
}

// countBy has the counter count the crowd's pods.
func (c *crowd) countBy(counter counter) {
	c.counters = append(c.counters, counter)
	for _, m := range c.members {
		m.countBy(counter)
	}
}

func (m *member) countBy(counter counter) {
	m.counters = append(m.counters, counter)
	for _, s := range m.sites {
		counter.add(int(s.place), int(s.n), int(s.terminating))
	}
}

func (w *World) axis(key string) *axis {
	if known, ok := w.axes[key]; ok {
		return known
	}
	a := &axis{key: strings.Clone(key), of: make([]int, 0, len(w.places)), ids: map[string]int{}}
	if key == hostname {
		a.ids = make(map[string]int, len(w.places)) // each has a value of its own
	}
	w.axes[key] = a
	for _, p := range w.places[:w.tallied] {
		a.enter(p)
	}
	return a
}

// nearTo is the tally of the pods that the selection picks.
func (w *World) nearTo(t term) *tally {
	if known, ok := w.near[t]; ok {
		return known
	}
	n := &tally{axis: w.axis(t.key)}
	w.near[t] = n
	w.crowd(t.who).countBy(n)
	return n
}

// holdersOf is the tally of the pods that have the term as anti-affinity.
func (w *World) holdersOf(t *term) *tally {
	if known, ok := w.holders[t]; ok {
		return known
	}
	h := &tally{axis: w.axis(t.key)}
	w.holders[t] = h
	c := w.crowd(t.who)
	c.refusals = append(c.refusals, h)
	for _, m := range c.members {
		m.refusals = append(m.refusals, h)
	}
	return h
}

// usersOf is the number of pods that use the claim.
func (w *World) usersOf(claim string) *tally {
	if known, ok := w.users[claim]; ok {
		return known
	}
	u := &tally{}
	w.users[claim] = u
	return u
}

// fieldOf is the places that count for the class's spread rule.
func (w *World) fieldOf(c *Class, r *spreadRule) *field {
	k := fieldKey{r.key, r.nodes}
	if known, ok := w.fields[k]; ok {
		return known
	}
	f := &field{axis: w.axis(r.key), rule: r, class: c}
	for _, key := range r.keys {
		f.needs = append(f.needs, w.axis(key))
	}
	w.fields[k] = f
	for _, p := range w.places[:w.tallied] {
		f.enter(p, w.countsAttached(f, p))
	}
	for _, p := range w.expected {
		if value, ok := f.axis.number(p); ok && w.counts(f, p) {
			f.expect(value)
		}
	}
	return f
}

// spreadOf is the tally of the class's spread rule.
func (w *World) spreadOf(c *Class, r *spreadRule) *spreadTally {
	k := spreadKey{r.who, w.fieldOf(c, r), r.counts}
	if known, ok := w.spread[k]; ok {
		return known
	}
	s := &spreadTally{field: k.field}
	k.field.tallies = append(k.field.tallies, s)
	w.spread[k] = s
	if r.counts {
		w.crowd(r.who).countBy(s)
	}
	return s
}

// rulesOf are the class's own rules.
func (w *World) rulesOf(m *member) *rules {
	if m.rules != nil {
		return m.rules
	}
	m.rules = &rules{}
	for _, t := range m.class.shunned {
		m.rules.shunned = append(m.rules.shunned, w.nearTo(*t))
	}
	if near := m.class.near; near != nil {
		for _, key := range near.keys {
			m.rules.near = append(m.rules.near, w.nearTo(term{near.who, key}))
		}
	}
	for _, r := range m.class.spread {
		m.rules.spread = append(m.rules.spread, w.spreadOf(m.class, r))
	}
	for _, claim := range m.class.volumes.exclusiveClaims() {
		m.rules.exclusive = append(m.rules.exclusive, w.usersOf(claim))
	}
	return m.rules
}
