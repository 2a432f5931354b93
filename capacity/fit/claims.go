package fit

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/storage/volume"
)

// unboundClaim is a claim that is bound once its pod is scheduled.
type unboundClaim struct {
	// id is the claim's namespace and name, "" if a volume is made for it wherever its
	// pod goes, and no other pod uses it.
	id    string
	claim *corev1.PersistentVolumeClaim
	// chosen is the node that a volume is being provisioned for, "" for none.
	chosen string
	// candidates are the volumes that it may be bound to.
	candidates []*corev1.PersistentVolume
	provision  provision
}

// provision says where a volume can be made.
type provision struct {
	// never is true if the storage class makes none.
	never bool
	// restricted is true if it makes them only where one of these selects.
	restricted bool
	topologies []labels.Selector
	// limited is true if the driver says where it has room, which is where one
	// of these selects.
	limited bool
	room    []labels.Selector
}

func (p *provision) possible(node labels.Set) bool {
	return !p.never && (!p.restricted || anyMatches(p.topologies, node)) && (!p.limited || anyMatches(p.room, node))
}

func anyMatches(selectors []labels.Selector, set labels.Set) bool {
	for _, s := range selectors {
		if s.Matches(set) {
			return true
		}
	}
	return false
}

// storage is what planned pods do to claims and volumes.
type storage struct {
	// bindings are the planned ones by claim.
	bindings map[string][]binding
	// taken are the volumes that claims were planned to be bound to.
	taken map[string]*corev1.PersistentVolume
}

// binding is what one planned pod does to a claim.
type binding struct {
	claim *unboundClaim
	place *Place
	// volume is what the claim is bound to, nil if one will be made.
	volume *corev1.PersistentVolume
}

// bind finds out what the class's unbound claims would be bound to on the
// place; why is "" if that is possible for all of them.
func (w *World) bind(p *Place, c *Class) ([]binding, string) {
	node := nodeOf(&w.scratch, p.name, p.labels)
	found := make([]binding, 0, len(c.volumes.unbound))
	excluded := map[string]*corev1.PersistentVolume{}
	var rest []*unboundClaim
	for _, u := range c.volumes.unbound {
		chosen := u.chosen
		if home := w.home(u.id); home != nil && chosen == "" {
			if home != p {
				return nil, whyOtherPlace
			}
			chosen = node.Name
		}
		switch {
		case chosen == "":
			rest = append(rest, u)
			continue
		case chosen != node.Name:
			return nil, whyOtherPlace
		case !u.provision.possible(node.Labels):
			return nil, whyProvision
		}
		found = append(found, binding{claim: u, place: p})
	}
	for _, u := range rest {
		chosen, err := volume.FindMatchingVolume(u.claim, w.available(u), node, excluded, true, true)
		switch {
		case err != nil:
			return nil, whyReach
		case chosen != nil:
			excluded[chosen.Name] = chosen
			found = append(found, binding{u, p, chosen})
		case !u.provision.possible(node.Labels):
			return nil, whyProvision
		default:
			found = append(found, binding{claim: u, place: p})
		}
	}
	return found, ""
}

// home is the place that a volume will be made for, nil for none.
func (w *World) home(claim string) *Place {
	for _, b := range w.bindings[claim] {
		if b.volume == nil {
			return b.place
		}
	}
	return nil
}

// available are the claim's candidates as they are after what is planned.
func (w *World) available(u *unboundClaim) []*corev1.PersistentVolume {
	if len(w.taken) == 0 {
		return u.candidates
	}
	list := make([]*corev1.PersistentVolume, 0, len(u.candidates))
	for _, v := range u.candidates {
		if taken, ok := w.taken[v.Name]; ok {
			v = taken
		}
		list = append(list, v)
	}
	return list
}

// planVolumes binds the claims of n more planned pods, or with a negative n
// unbinds them.
func (w *World) planVolumes(p *Place, c *Class, n int) {
	if !c.volumes.binds() {
		return
	}
	if w.bindings == nil {
		w.bindings, w.taken = map[string][]binding{}, map[string]*corev1.PersistentVolume{}
	}
	for ; n > 0; n-- {
		found, _ := w.bind(p, c)
		for _, b := range found {
			if b.claim.id == "" {
				continue
			}
			w.bindings[b.claim.id] = append(w.bindings[b.claim.id], b)
		}
		w.retake(c)
	}
	for ; n < 0; n++ {
		for _, u := range c.volumes.unbound {
			w.unbind(u.id, p)
		}
		w.retake(c)
	}
}

// unbind takes back what the last pod on the place did to the claim.
func (w *World) unbind(claim string, p *Place) {
	list := w.bindings[claim]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].place == p {
			w.bindings[claim] = append(list[:i:i], list[i+1:]...)
			return
		}
	}
}

// retake finds out anew which volumes the class's claims have taken.
func (w *World) retake(c *Class) {
	for _, u := range c.volumes.unbound {
		maps.DeleteFunc(w.taken, func(_ string, v *corev1.PersistentVolume) bool { return volume.IsVolumeBoundToClaim(v, u.claim) })
		for _, b := range w.bindings[u.id] {
			if b.volume == nil {
				continue
			}
			taken := b.volume.DeepCopy()
			taken.Spec.ClaimRef = &corev1.ObjectReference{Namespace: u.claim.Namespace, Name: u.claim.Name, UID: u.claim.UID}
			w.taken[taken.Name] = taken
		}
	}
}
