package capacity

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// explain says of each pod that stays at the gate why it does.
func (p *planner) explain() {
	texts := map[*fit.Class]*Reason{}
	p.decision.Reasons = slices.Grow(p.decision.Reasons, len(p.unbound)-len(p.decision.Releases))
	for _, u := range p.units {
		for _, m := range u.members {
			if m.pod == nil || !m.pod.Gated || m.released {
				continue
			}
			p.decision.Reasons = append(p.decision.Reasons, *p.reason(u, m, texts))
			r := &p.decision.Reasons[len(p.decision.Reasons)-1]
			r.Pod, r.UID = m.pod.Key, m.pod.UID
		}
	}
	for _, pod := range p.unbound {
		if pod.Gated && pod.OthersGate {
			p.decision.Reasons = append(p.decision.Reasons, Reason{
				Pod: pod.Key, UID: pod.UID, Code: ReasonOthersGate,
				Text: "other scheduling gates are still on the pod",
			})
		}
	}
}

// reason returns why the member waits; what it says to many is made once.
func (p *planner) reason(u *unit, m *member, texts map[*fit.Class]*Reason) *Reason {
	switch {
	case u.incomplete():
		return gangReason(u)
	case !u.placed:
		r, known := texts[m.kind.Class]
		if !known {
			why := p.whyNot(m.kind.Class)
			r = &why
			texts[m.kind.Class] = r
		}
		if u.gang {
			return &Reason{Code: r.Code, Text: fmt.Sprintf("the gang of %d cannot be placed together: %s", len(u.members), r.Text), Expected: r.Expected}
		}
		return r
	}
	if m.bin.tier == tierReady {
		other := u.waitsFor()
		switch {
		case other != nil:
			m = other // it waits for another one of its gang
		case u.missing > 0:
			return gangReason(u)
		case m.bin.promised && m.bin.node.Admits(m.kind.Class, m.bin.name()) != "":
			return &Reason{Code: ReasonMachinesComing, Text: fmt.Sprintf("node %s takes it as soon as the drivers of its volumes have registered there", m.bin.name())}
		default:
			return &Reason{Code: ReasonOrder, Text: fmt.Sprintf("node %s takes it as soon as pods that are being scheduled have landed", m.bin.name())}
		}
	}
	if m.bin.tier == tierMarked || m.bin.tier == tierFenced {
		return &Reason{Code: ReasonRescue, Text: fmt.Sprintf("node %s is being taken back from its retirement", m.bin.name())}
	}
	return p.coming(m.bin)
}

// coming is the reason of a pod whose machine is on its way or to be bought.
func (p *planner) coming(b *bin) *Reason {
	po, due := b.pool, b.due
	if due.IsZero() {
		due = p.snapshot.Now.Add(po.BootTime)
	}
	if po.coming.Code != "" && po.coming.Expected.Equal(due) {
		return &po.coming
	}
	boots := "about " + api.ShortDuration(po.BootTime) + " from purchase to ready"
	if po.SlowBoot > po.BootTime {
		boots += ", nine in ten within " + api.ShortDuration(po.SlowBoot)
	}
	po.coming = Reason{
		Code: ReasonMachinesComing, Expected: due,
		Text: fmt.Sprintf("waiting for %s in %s, %s", machines(po.arriving+po.opened), po.Name, boots+", expected at "+due.UTC().Format("15:04 MST")),
	}
	return &po.coming
}

func gangReason(u *unit) *Reason {
	if u.leader.GangSize == GangSizeUnknown {
		return &Reason{Code: ReasonGang, Text: "the gang's size is not known yet"}
	}
	return &Reason{Code: ReasonGang, Text: fmt.Sprintf("the gang waits for %d more of its %d pods", u.missing, u.leader.GangSize)}
}

// whyNot says why no machine can be bought for the class: what waiting can
// change if there is such a pool, else what stands in the way of all.
func (p *planner) whyNot(class *fit.Class) Reason {
	if why := class.Blocked(); why != "" {
		return Reason{Code: ReasonNoFit, Text: "no node takes it: " + why}
	}
	var texts []string
	var small obstacle
	matches := 0
	for _, po := range p.pools {
		if class.Pool != "" && !po.is(class.Pool) {
			continue
		}
		matches++
		o := p.obstacle(po, class)
		switch {
		case o.code == ReasonMaximum || o.code == ReasonAway || o.code == ReasonFailing || o.code == ReasonQuota || o.code == ReasonLimit:
			return Reason{Code: o.code, Text: o.text}
		case o.lack != "":
			if small.lack == "" || o.offers > small.offers {
				small = o
			}
		case o.code == "":
			if why := p.related(po, class); why != "" {
				texts = append(texts, fmt.Sprintf("a machine of %s would not do: %s", po.Name, why))
				break
			}
			// The pool could serve one pod of a unit but not all of them.
			return Reason{Code: ReasonMaximum, Text: fmt.Sprintf("%s is too small for all of them within its maximum of %d", po.Name, po.Settings.Max)}
		default:
			texts = append(texts, o.text)
		}
	}
	switch {
	case p.snapshot.PoolsUnknown != "":
		return Reason{Code: ReasonPoolsUnknown, Text: "the pools are not known: " + p.snapshot.PoolsUnknown}
	case len(p.pools) == 0:
		return Reason{Code: ReasonNoFit, Text: "there is no pool that Tidegate manages"}
	case matches == 0:
		return Reason{Code: ReasonNoFit, Text: fmt.Sprintf("there is no pool named %q", class.Pool)}
	case small.lack != "" && small.offers <= 0:
		return Reason{Code: ReasonNoFit, Text: fmt.Sprintf("no pool offers %s", small.lack)}
	case small.lack != "":
		return Reason{Code: ReasonNoFit, Text: fmt.Sprintf("requests %s; the largest machine of any pool offers %s",
			fit.Format(small.lack, class.Requests.Amount(small.lack)), fit.Format(small.lack, small.offers))}
	}
	if hosts := class.Hosts(); len(hosts) > 0 {
		return Reason{Code: ReasonNoFit, Text: p.onDisk(hosts)}
	}
	return Reason{Code: ReasonNoFit, Text: strings.Join(texts, "; ")}
}

// onDisk is the reason of a pod whose volumes are on the disks of these nodes.
func (p *planner) onDisk(hosts []string) string {
	there := func(host string) bool {
		_, found := slices.BinarySearchFunc(p.snapshot.Nodes, host, func(n *Node, name string) int { return strings.Compare(n.Name, name) })
		return found
	}
	if !slices.ContainsFunc(hosts, there) {
		return "the data of its volume are on the disk of node " + hosts[0] + ", which is not there"
	}
	return "waiting for room on node " + strings.Join(hosts, " or ") + ", on whose disk the data of its volume are"
}

// related says which rule keeps a pod of the class off one more machine of the
// pool, although the machine is right for it: one that looks at other pods.
func (p *planner) related(po *pool, class *fit.Class) string {
	b := p.machine(po, po.nextZone(), tierNew)
	defer p.world.Remove(b.place)
	return p.world.Check(b.place, class).Why
}
