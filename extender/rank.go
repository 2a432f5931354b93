package extender

import (
	"cmp"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// Stay says what will end a node's stay in the cluster.
type Stay int

const (
	// Outdated: the node goes as soon as its pods have ended, and the sooner the
	// better: its machine lacks the scale set's latest model.
	Outdated Stay = iota - 1
	// Leaves: the node goes as soon as its pods have ended.
	Leaves
	// Pinned: the pool's node carries a pod that does not end by itself.
	Pinned
	// Permanent: the node is outside every pool, or somebody forbade to retire
	// it.
	Permanent
)

// Outlook is what can be foreseen of a node's stay.
type Outlook struct {
	Stay Stay
	// End is when the last pod of a node that leaves is expected to end; now,
	// if it carries none.
	End time.Time
	// Requested is the fraction of the node's scarcest resource, of cpu and
	// memory, that its pods request.
	Requested float64
}

// Scores returns a score from 0 to extenderv1.MaxExtenderPriority for each
// node: the longer the node will have to stay without the new pod, the more.
//
// A pod that does not end by itself goes first to nodes that never leave, then
// to nodes that are pinned already, and pins another one last of all. A batch
// pod costs nothing on either kind, but leaves the room on permanent nodes to
// those that would pin a machine for lack of it: pinned nodes come first. Then,
// for both, nodes of the latest model before outdated ones, by their expected end, the latest first; among equals the
// fuller one, so that pods are packed.
//
// Only the top of the list matters for a choice, so scores fall with the
// logarithm of the rank: of two nodes one gets all and the other nothing, and
// of a thousand the first ten still differ.
func Scores(outlooks []Outlook, batch bool) []int64 {
	order := make([]int, len(outlooks))
	for i := range order {
		order[i] = i
	}
	compare := func(a, b int) int { return compareOutlooks(outlooks[b], outlooks[a], batch) }
	slices.SortFunc(order, compare)

	scores := make([]int64, len(outlooks))
	rank := 0
	for i, node := range order {
		if i > 0 && compare(order[i-1], node) != 0 { // equals share the better rank
			rank = i
		}
		share := 0.0
		if rank > 0 {
			share = math.Log(float64(1+rank)) / math.Log(float64(len(order)))
		}
		scores[node] = int64(math.Round(float64(extenderv1.MaxExtenderPriority) * (1 - share)))
	}
	return scores
}

// compareOutlooks is positive if the new pod belongs rather to a than to b.
func compareOutlooks(a, b Outlook, batch bool) int {
	return cmp.Or(
		cmp.Compare(preference(a.Stay, batch), preference(b.Stay, batch)),
		a.End.Compare(b.End),
		cmp.Compare(a.Requested, b.Requested),
	)
}

func preference(stay Stay, batch bool) int {
	if batch && stay == Pinned {
		return int(Permanent) + 1
	}
	return int(stay)
}

// outlookOf foresees a node's stay from the pods on it.
func outlookOf(node *corev1.Node, tenants map[cache.ObjectName]tenant, now time.Time) Outlook {
	o := Outlook{End: now}
	var cpu, memory int64
	for _, t := range tenants {
		cpu += t.cpu
		memory += t.memory
		if t.pins {
			o.Stay = Pinned
		}
		if end := t.expectedEnd(now); t.work && end.After(o.End) {
			o.End = end
		}
	}
	if api.Outdated(node) {
		o.Stay = Outdated
	}
	if node.Labels[api.PoolLabel] == "" || api.KeepReason(node) != "" {
		o.Stay = Permanent
	}
	if o.Stay > Leaves {
		o.End = now // its pods' ends decide nothing
	}
	o.Requested = max(
		fraction(cpu, node.Status.Allocatable.Cpu().MilliValue()),
		fraction(memory, node.Status.Allocatable.Memory().Value()),
	)
	return o
}

func fraction(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
