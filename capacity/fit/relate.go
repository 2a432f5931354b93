package fit

import corev1 "k8s.io/api/core/v1"

// Why a pod may not go to a place because of others.
const (
	whyExclusive = "a volume that only one pod may use is in use"
	whyRefused   = "anti-affinity of pods that are there"
	whyShunned   = "pod anti-affinity"
	whyNear      = "pod affinity"
	whySpread    = "topology spread"
)

// relate judges one more pod by the pods elsewhere.
func (w *World) relate(p *Place, m *member) Verdict {
	own := w.rulesOf(m)
	for _, t := range own.exclusive {
		if t.total > 0 {
			return Verdict{Why: whyExclusive, Lasting: true}
		}
	}
	for _, t := range m.refusals {
		if t.at(p) > 0 {
			return Verdict{Why: whyRefused, Lasting: true}
		}
	}
	for _, t := range own.shunned {
		if t.at(p) > 0 {
			return Verdict{Why: whyShunned, Lasting: true}
		}
	}
	for i, s := range own.spread {
		if s.axis.of[p.index] == none {
			return Verdict{Why: whySpread, Lasting: true}
		}
		if s.refuses(p, m.class.spread[i]) {
			// A machine that does not exist yet may come beside any other without a
			// pod: whatever is planned elsewhere, its own are too many.
			lasting := p.name == "" && s.axis.key == hostname
			return Verdict{Why: whySpread, Lasting: lasting, Zonewide: s.axis.key == zoneLabel}
		}
	}
	return w.nearOthers(p, m, own)
}

// first reports whether nobody whom the class has to be with was there when the
// world was frozen: then it may start a group with those that are planned, if
// all of them are in the same place.
func (r *rules) first() bool {
	for _, t := range r.near {
		if len(t.before) > 0 {
			return false
		}
	}
	return true
}

// nearOthers judges required affinity.
func (w *World) nearOthers(p *Place, m *member, own *rules) Verdict {
	alone, missing, zonewide, early, together := true, false, false, true, true
	for _, t := range own.near {
		value := t.axis.of[p.index]
		if value == none {
			return Verdict{Why: whyNear, Lasting: true}
		}
		alone = alone && t.total == 0
		if t.at(p) == 0 {
			missing, zonewide = true, zonewide || t.axis.key == zoneLabel
		}
		early = early && t.before[value]
		together = together && t.at(p) == t.total
	}
	if w.frozen && !early && !missing && !(own.first() && m.class.near.self && together) {
		missing, alone = true, false // those that it has to be with are only planned
	}
	if missing && !(alone && m.class.near.self) {
		return Verdict{Why: whyNear, Zonewide: zonewide}
	}
	return Verdict{}
}

// Misses reports whether pods that one of the class has to be near are not where
// the place is, whatever else speaks for or against it.
func (w *World) Misses(p *Place, c *Class) bool {
	if c.near == nil {
		return false
	}
	if !w.on {
		w.start()
	}
	w.catchUp()
	m := w.member(c)
	return w.nearOthers(p, m, w.rulesOf(m)).Why != ""
}

// hostname is the label that every node has for itself, and zoneLabel the one that
// it shares with the others of its zone.
const (
	hostname  = corev1.LabelHostname
	zoneLabel = corev1.LabelTopologyZone
)
