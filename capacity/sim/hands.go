package sim

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// resize lets a person change the capacity of a pool by a machine or two. Where it
// shrinks, Azure takes machines, whatever runs there: that is nobody's fault but
// that person's.
func (w *World) resize(time.Duration) {
	p := &w.plan.pools[w.chance.IntN(len(w.plan.pools))]
	w.setCapacity(p.name, []int{-2, -1, 1, 2}[w.chance.IntN(4)])
}

func (w *World) setCapacity(pool string, change int) {
	machines := 0
	for _, vm := range w.Cloud.VMs() {
		if vm.Set == pool {
			machines++
		}
	}
	w.logf("somebody changes the capacity of %s by %d", pool, change)
	w.byHand = true
	w.Cloud.Resize(pool, max(0, machines+change))
	w.byHand = false
	w.checkCloud()
}

// replace lets Azure take a node's machine without a notice in the moment in which
// its end is committed, and somebody add another one, which may get its ID: whoever
// goes by an old list then hits the wrong machine.
func (w *World) replace(before, after *corev1.Node) {
	if w.faults.hands == 0 || !w.troubled() || before == nil || after == nil || w.chance.IntN(3) > 0 ||
		after.Annotations[api.DeletingAnnotation] == "" || before.Annotations[api.DeletingAnnotation] != "" {
		return
	}
	vm, up := w.Cluster.Machine(after)
	if !up {
		return
	}
	w.Loop.In(0, func() {
		w.logf("somebody replaces machine %s of %s", vm.InstanceID, vm.Set)
		if _, err := w.Cloud.Schedule(emulator.ScheduledEvent{Type: api.InterruptionPreempt, Set: vm.Set, InstanceIDs: []string{vm.InstanceID}}); err != nil {
			return // it is gone
		}
		w.taken[after.UID], w.takenNames[after.Name] = true, true
	})
	w.Loop.In(3*time.Second, func() { w.setCapacity(vm.Set, 1) })
}

// changeModel gives a pool another image.
func (w *World) changeModel(time.Duration) {
	p := &w.plan.pools[w.chance.IntN(len(w.plan.pools))]
	w.logf("somebody changes the image of %s", p.name)
	w.Cloud.ChangeModel(p.name)
}

// outdatedLeft reports whether a node says that its machine lacks the latest model.
func (w *World) outdatedLeft() bool {
	return slices.ContainsFunc(cluster.All[*corev1.Node](w.Cluster.Store), api.Outdated)
}
