package capacity

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
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
func (p *planner) obstacle(po *pool, class *fit.Class) obstacle {
	if why := po.mismatch(class); why != "" {
		return obstacle{code: ReasonNoFit, text: why}
	}
	if lack := po.offers.Lacks(class.Requests); lack != "" {
		return obstacle{code: ReasonNoFit, lack: lack, offers: po.offers.Amount(lack)}
	}
	code := p.closedFor(po, po.hasStopped(class))
	return obstacle{code: code, text: p.closedText(po, code)}
}

// mismatch says why the pool's machines are not for pods of the class, however
// large they are, "" if they are.
func (po *pool) mismatch(class *fit.Class) string {
	switch {
	case class.Pool != "" && !po.is(class.Pool):
		return "not the pool that the pod asks for"
	case po.Refused != "":
		return po.Name + ": " + po.Refused
	case po.Shape == nil:
		return fmt.Sprintf("what a machine of %s offers is unknown: tag the scale set or start one machine by hand", po.Name)
	}
	why := ""
	for _, z := range po.zones {
		if why = z.shape.Admits(class, ""); why == "" {
			return ""
		}
	}
	return fmt.Sprintf("%s does not match: %s", po.Name, why)
}

// roundingError is by how much sums of prices may be off: three times 0.1 is
// more than 0.3. It is far less than any machine costs.
const roundingError = 1e-6

// closed says what keeps the pool from starting or buying one more machine for
// whomever, "" if nothing does.
func (p *planner) closed(po *pool) ReasonCode {
	return p.closedFor(po, po.starts() < po.stopped)
}

// closedFor is the same for one machine that is to be started, or else bought. One that
// is started counts already, also against the quota: Azure keeps a deallocated
// machine's vCPUs in it. Source: Azure documentation, "Check vCPU quotas".
func (p *planner) closedFor(po *pool, start bool) ReasonCode {
	limits := &p.snapshot.Limits
	switch {
	case p.before(po.AwayUntil): // what Azure says itself comes first
		return ReasonAway
	case po.failing != "":
		return ReasonFailing
	case !start && po.Capacity+po.buys() >= po.Settings.Max:
		return ReasonMaximum
	case limits.Machines > 0 && p.machines.count >= limits.Machines,
		limits.HourlyPrice > 0 && (po.Settings.PricePerHour <= 0 || p.machines.price+po.Settings.PricePerHour > limits.HourlyPrice+roundingError):
		return ReasonLimit
	case !start && po.Headroom != nil && (po.buys() >= *po.Headroom || !p.familyAllows(po)):
		return ReasonQuota
	}
	return ""
}

// familyAllows reports whether the quota that the pool shares with others
// allows one more of its machines beside all those that are to be bought. Each
// pool says how many whole machines of its own size the quota allows; whichever
// says most is closest to what is left.
func (p *planner) familyAllows(po *pool) bool {
	if po.Family == "" {
		return true
	}
	left, used := 0, po.VCPUs
	for _, other := range p.pools {
		if other.Family == po.Family && other.Headroom != nil {
			left = max(left, *other.Headroom*other.VCPUs)
			used += other.buys() * other.VCPUs
		}
	}
	return used <= left
}

func (p *planner) closedText(po *pool, code ReasonCode) string {
	limits := &p.snapshot.Limits
	switch code {
	case ReasonFailing:
		return po.Name + ": " + po.failing
	case ReasonAway:
		return fmt.Sprintf("%s: %s, next try %s", po.Name, po.AwayReason, po.AwayUntil.UTC().Format("15:04 MST"))
	case ReasonMaximum:
		return fmt.Sprintf("%s is at its maximum of %d", po.Name, po.Settings.Max)
	case ReasonQuota:
		return fmt.Sprintf("the quota %s leaves no room for a machine of %s", po.Family, po.Name)
	case ReasonLimit:
		switch {
		case limits.Machines > 0 && p.machines.count >= limits.Machines:
			return fmt.Sprintf("the pools have %d machines together and --max-machines is %d", p.machines.count, limits.Machines)
		case po.Settings.PricePerHour <= 0:
			return fmt.Sprintf("the price of a machine of %s is unknown and --max-hourly-price is set: tag the scale set with its price", po.Name)
		}
		return fmt.Sprintf("a machine of %s would cost more than --max-hourly-price %g allows", po.Name, limits.HourlyPrice)
	}
	return ""
}

// grow asks each pool for the machines that the demand or its minimum needs.
func (p *planner) grow() {
	for _, po := range p.pools {
		why := machines(po.opened) + " for waiting pods"
		if po.opened == po.spare {
			why = machines(po.opened) + " as a buffer"
		}
		for po.Refused == "" && po.Capacity-po.stopped+po.opened < po.Settings.Min && p.closed(po) == "" {
			po.opened++
			p.pay(po, 1)
			why = fmt.Sprintf("the pool's minimum is %d", po.Settings.Min)
		}
		if po.stopped > 0 && po.Listed && po.Refused == "" {
			p.start(po)
		}
		if po.opened == 0 || po.Growing || !po.Listed || po.Refused != "" || p.before(po.AwayUntil) {
			continue
		}
		p.decision.Grows = append(p.decision.Grows, Grow{Pool: po.Name, From: po.Capacity, To: po.Capacity + po.opened, Why: why})
	}
}

func machines(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}
