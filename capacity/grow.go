package capacity

import (
	"cmp"
	"fmt"
	"slices"
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
	if lack := po.offers.Lacks(class.Requests); lack != "" {
		return obstacle{code: ReasonNoFit, lack: lack, offers: po.offers.Amount(lack)}
	}
	if p.before(po.AwayUntil) {
		return obstacle{code: ReasonAway, text: fmt.Sprintf("%s: %s, next try %s", po.Name, po.AwayReason, po.AwayUntil.UTC().Format("15:04 MST"))}
	}
	if po.Capacity+po.opened >= po.Settings.Max {
		return obstacle{code: ReasonMaximum, text: fmt.Sprintf("%s is at its maximum of %d", po.Name, po.Settings.Max)}
	}
	return obstacle{}
}

// cheapest returns the pool that serves the pending pods of the class at the
// lowest price, or nil if none can grow for them.
func (p *planner) cheapest(class *fit.Class) *pool {
	type offer struct {
		pool     *pool
		extra    int // extended resources that the pods would leave idle
		price    float64
		machines int
	}
	var offers []offer
	priced := true
	for _, po := range p.pools {
		if p.obstacle(po, class).code != "" {
			continue
		}
		per := po.offers.Count(class.Requests, p.pending[class])
		o := offer{pool: po, machines: (p.pending[class] + per - 1) / max(per, 1)}
		for name := range po.Shape.Allocatable.Scalar {
			if class.Requests.Scalar[name] == 0 {
				o.extra++
			}
		}
		priced = priced && po.Settings.PricePerHour > 0
		offers = append(offers, o)
	}
	if len(offers) == 0 {
		return nil
	}
	for i := range offers {
		o := &offers[i]
		// Prices and vCPUs do not compare: prices count only if every pool that
		// could serve has one.
		unit := float64(o.pool.Shape.Allocatable.MilliCPU)
		if priced {
			o.extra, unit = 0, o.pool.Settings.PricePerHour
		}
		o.price = unit * float64(o.machines)
	}
	return slices.MinFunc(offers, func(a, b offer) int {
		return cmp.Or(cmp.Compare(a.extra, b.extra), cmp.Compare(a.price, b.price), cmp.Compare(a.machines, b.machines))
	}).pool
}

// grow asks each pool for the machines that the demand or its minimum needs.
func (p *planner) grow() {
	for _, po := range p.pools {
		target, why := po.Capacity+po.opened, machines(po.opened)+" for waiting pods"
		if target < po.Settings.Min {
			target, why = po.Settings.Min, fmt.Sprintf("the pool's minimum is %d", po.Settings.Min)
		}
		if target <= po.Capacity || po.Growing || !po.Listed || po.Refused != "" || p.before(po.AwayUntil) {
			continue
		}
		p.decision.Grows = append(p.decision.Grows, Grow{Pool: po.Name, From: po.Capacity, To: target, Why: why})
	}
}

func machines(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}
