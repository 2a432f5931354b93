package capacity

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// is reports whether the pool has that name; Azure's names have no case.
func (po *pool) is(name string) bool { return po.key == strings.ToLower(name) }

// obstacle is what keeps a pool from buying a machine for a class.
type obstacle struct {
	code ReasonCode // "" if nothing does
	text string
	// lack and offers are set where the machine is too small.
	lack   corev1.ResourceName
	offers int64
}

// obstacle returns what keeps the pool from buying one more machine for pods
// of the class. What can never change by waiting comes first.
func (p *planner) obstacle(po *pool, class *Class) obstacle {
	switch {
	case class.Pool != "" && !po.is(class.Pool):
		return obstacle{code: ReasonNoFit, text: "not the pool that the pod asks for"}
	case po.Refused != "":
		return obstacle{code: ReasonNoFit, text: po.Name + ": " + po.Refused}
	case po.Shape == nil:
		return obstacle{code: ReasonNoFit, text: fmt.Sprintf("what a machine of %s offers is unknown: tag the scale set or start one machine by hand", po.Name)}
	}
	if why := p.admits(po.Shape, class, ""); why != "" {
		return obstacle{code: ReasonNoFit, text: fmt.Sprintf("%s does not match: %s", po.Name, why)}
	}
	free := p.machine(po, tierNew).free
	if lack := free.lacks(class.Requests); lack != "" {
		return obstacle{code: ReasonNoFit, lack: lack, offers: free.amount(lack)}
	}
	if p.snapshot.Now.Before(po.AwayUntil) {
		p.look(po.AwayUntil)
		return obstacle{code: ReasonAway, text: fmt.Sprintf("%s: %s, next try %s", po.Name, po.AwayReason, po.AwayUntil.UTC().Format("15:04 MST"))}
	}
	if po.Capacity+len(po.opened) >= po.Settings.Max {
		return obstacle{code: ReasonMaximum, text: fmt.Sprintf("%s is at its maximum of %d", po.Name, po.Settings.Max)}
	}
	return obstacle{}
}

// grow asks each pool for the machines that the demand or its minimum needs.
func (p *planner) grow() {
	for _, po := range p.pools {
		target, why := po.Capacity+len(po.opened), fmt.Sprintf("%d machines for waiting pods", len(po.opened))
		if len(po.opened) == 1 {
			why = "1 machine for waiting pods"
		}
		if target < po.Settings.Min {
			target, why = po.Settings.Min, fmt.Sprintf("the pool's minimum is %d", po.Settings.Min)
		}
		switch {
		case target <= po.Capacity || po.Growing || !po.Listed || po.Refused != "":
		case p.snapshot.Now.Before(po.AwayUntil):
			p.look(po.AwayUntil)
		default:
			p.decision.Grows = append(p.decision.Grows, Grow{Pool: po.Name, From: po.Capacity, To: target, Why: why})
		}
	}
}

// explain says of each pod that stays at the gate why it does.
func (p *planner) explain(units []*unit) {
	released := map[string]bool{}
	for _, r := range p.decision.Releases {
		released[string(r.UID)] = true
	}
	texts := map[*Class]Reason{}
	for _, u := range units {
		for _, m := range u.members {
			if m.pod == nil || !m.pod.Gated || released[string(m.pod.UID)] {
				continue
			}
			r := p.reason(u, m, texts)
			r.Pod, r.UID = m.pod.Key, m.pod.UID
			p.decision.Reasons = append(p.decision.Reasons, r)
		}
	}
	for i := range p.snapshot.Pods {
		if pod := &p.snapshot.Pods[i]; pod.Gated && pod.OthersGate {
			p.decision.Reasons = append(p.decision.Reasons, Reason{
				Pod: pod.Key, UID: pod.UID, Code: ReasonOthersGate,
				Text: "other scheduling gates are still on the pod",
			})
		}
	}
}

func (p *planner) reason(u *unit, m *member, texts map[*Class]Reason) Reason {
	if !u.placed {
		r, known := texts[m.class]
		if !known {
			r = p.whyNot(m.class)
			texts[m.class] = r
		}
		if u.gang {
			r.Text = fmt.Sprintf("the gang of %d cannot be placed together: %s", len(u.members), r.Text)
		}
		return r
	}
	if u.gang && m.bin.tier == tierReady {
		if u.missing > 0 {
			return Reason{Code: ReasonGang, Text: fmt.Sprintf("the gang waits for %d more of its %d pods", u.missing, u.leader.GangSize)}
		}
		for _, other := range u.members {
			if other.bin.tier != tierReady {
				m = other
				break
			}
		}
	}
	switch m.bin.tier {
	case tierMarked, tierFenced:
		return Reason{Code: ReasonRescue, Text: fmt.Sprintf("node %s is being taken back from its retirement", m.bin.name())}
	case tierReady:
		return Reason{Code: ReasonGang, Text: "the gang waits for pods that its Job has yet to create"}
	}
	po := m.bin.pool
	count := po.coming + len(po.opened)
	machines := fmt.Sprintf("%d machines", count)
	if count <= 1 {
		machines = "a machine"
	}
	return Reason{Code: ReasonMachinesComing, Text: fmt.Sprintf("waiting for %s in %s, about %s from purchase to ready", machines, po.Name, api.ShortDuration(po.BootTime))}
}

// whyNot says why no machine can be bought for the class: what waiting can
// change if there is such a pool, else what stands in the way of all.
func (p *planner) whyNot(class *Class) Reason {
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
		case o.code == ReasonMaximum || o.code == ReasonAway:
			return Reason{Code: o.code, Text: o.text}
		case o.lack != "":
			if small.lack == "" || o.offers > small.offers {
				small = o
			}
		case o.code == "":
			// The pool could serve one pod of a unit but not all of them.
			return Reason{Code: ReasonMaximum, Text: fmt.Sprintf("%s is too small for all of them within its maximum of %d", po.Name, po.Settings.Max)}
		default:
			texts = append(texts, o.text)
		}
	}
	switch {
	case len(p.pools) == 0:
		return Reason{Code: ReasonNoFit, Text: "there is no pool that Tidegate manages"}
	case matches == 0:
		return Reason{Code: ReasonNoFit, Text: fmt.Sprintf("there is no pool named %q", class.Pool)}
	case small.lack != "" && small.offers <= 0:
		return Reason{Code: ReasonNoFit, Text: fmt.Sprintf("no pool offers %s", small.lack)}
	case small.lack != "":
		return Reason{Code: ReasonNoFit, Text: fmt.Sprintf("requests %s; the largest machine of any pool offers %s",
			format(small.lack, class.Requests.amount(small.lack)), format(small.lack, small.offers))}
	}
	return Reason{Code: ReasonNoFit, Text: strings.Join(texts, "; ")}
}
