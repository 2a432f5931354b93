package capacity

import "slices"

// ObserveOnly is what is left of the decision where nothing may be acted on:
// it only says, for each pod that waits, what would happen to it.
func (d Decision) ObserveOnly() Decision {
	said := Decision{NextLook: d.NextLook}
	for _, r := range d.Releases {
		text := "release it towards node " + r.Node
		if r.Node == "" {
			text = "release it without room: " + r.Why
		}
		said.Reasons = append(said.Reasons, Reason{
			Pod: r.Pod, UID: r.UID, Code: ReasonObserveOnly,
			Text: "Tidegate only observes; it would " + text,
		})
	}
	for _, r := range d.Reasons {
		r.Code, r.Text = ReasonObserveOnly, "Tidegate only observes; it would say: "+r.Text
		said.Reasons = append(said.Reasons, r)
	}
	return said
}

// Acts reports whether the decision changes anything but what is said.
func (d Decision) Acts() bool {
	// A proof is asked for, it changes nothing.
	steps := slices.ContainsFunc(d.Steps, func(s Step) bool { return s.Kind != StepProve })
	return steps || len(d.Releases)+len(d.Grows)+len(d.Evictions)+len(d.Approvals)+len(d.Repairs)+len(d.Protections) > 0
}
