package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/azure/emulator/k3sagent"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// work reports whether the pod keeps its machine: it is not finished, and no
// DaemonSet's that goes with its node.
func isWork(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	owner := metav1.GetControllerOf(pod)
	return owner == nil || owner.Kind != "DaemonSet" || pod.Annotations[api.GateKey] == "true"
}

// seen checks each change of the cluster.
func (w *World) seen(e cluster.Event) {
	w.logChange(e)
	if node, ok := e.New.(*corev1.Node); ok {
		before, _ := e.Old.(*corev1.Node)
		w.followNode(before, node)
		w.rival(before, node)
		w.replace(before, node)
		w.checkCommit(before, node)
		w.checkApproval(before, node)
	}
	pod, ok := e.Object().(*corev1.Pod)
	if !ok {
		return
	}
	before, _ := e.Old.(*corev1.Pod)
	if before != nil && pod.Spec.NodeName != "" && before.Spec.NodeName == "" {
		w.bound[pod.UID] = time.Now()
		node := cluster.Get[*corev1.Node](w.Cluster.Store, "", pod.Spec.NodeName)
		if _, up := w.Cluster.Machine(node); !up && (node == nil && w.takenNames[pod.Spec.NodeName] || node != nil && w.taken[node.UID]) {
			w.lost[pod.UID] = true
		}
	}
	switch {
	case e.By == byUser, w.lost[pod.UID]:
	case e.New == nil:
		if before.Spec.NodeName != "" && before.DeletionTimestamp == nil && isWork(before) {
			w.fail("pod %s was removed by %s before it was done", pod.Name, e.By)
		}
	case before == nil:
	case pod.DeletionTimestamp != nil && before.DeletionTimestamp == nil && isWork(pod) && !w.evictable(pod.Spec.NodeName):
		w.fail("pod %s was deleted by %s before it was done", pod.Name, e.By)
	case pod.Spec.NodeName != "" && before.Spec.NodeName == "" && isWork(pod):
		if !w.mayRun(cluster.Get[*corev1.Node](w.Cluster.Store, "", pod.Spec.NodeName)) {
			w.fail("pod %s was bound to %s, whose machine is gone", pod.Name, pod.Spec.NodeName)
		}
	}
	if before != nil && e.New != nil {
		w.checkGates(before, pod, e.By)
		w.noteNomination(pod, e.By)
		if api.HasCapacityGate(before) && !api.HasCapacityGate(pod) {
			w.checkRelease(pod, e.By)
		}
	}
}

// mayRun reports whether a pod that is bound to the node has a machine to run on: one
// that is up, or one that comes back by itself, since nobody has committed its end.
// Others bind to nodes that are silent, too.
func (w *World) mayRun(node *corev1.Node) bool {
	if _, up := w.Cluster.Machine(node); up {
		return true
	}
	return node != nil && node.Annotations[api.DeletingAnnotation] == "" && node.Annotations[api.RestartingAnnotation] == "" && w.machineOf(node)
}

// checkCommit makes sure that nothing speaks against the deletion of a machine,
// or its restart, when it is committed.
func (w *World) checkCommit(before, after *corev1.Node) {
	committed := func(annotation string) bool {
		return before != nil && after.Annotations[annotation] != "" && before.Annotations[annotation] == ""
	}
	what := "deletion"
	switch {
	case committed(api.DeletingAnnotation):
	case committed(api.RestartingAnnotation):
		what, w.restarted = "restart", time.Now()
	case before != nil && api.RestartOf(before) != nil && after != nil && api.RestartOf(after) == nil && after.Annotations[api.DeletingAnnotation] == "":
		delete(w.doomed, before.Annotations[api.VMIDAnnotation]) // it is back
		return
	default:
		return
	}
	w.doomed[after.Annotations[api.VMIDAnnotation]] = true
	if api.FenceToken(after) == "" {
		w.fail("the %s of %s was committed without a fence", what, after.Name)
	}
	if reason := api.KeepReason(after); reason != "" {
		w.fail("the %s of %s was committed against its %s", what, after.Name, reason)
	}
	for _, pod := range w.workOn(after) {
		w.fail("the %s of %s was committed with pod %s on it", what, after.Name, pod.Name)
	}
}

// workOn returns the pods that keep the node's machine.
func (w *World) workOn(node *corev1.Node) []*corev1.Pod {
	var work []*corev1.Pod
	for _, pod := range cluster.All[*corev1.Pod](w.Cluster.Store) {
		if pod.Spec.NodeName == node.Name && isWork(pod) {
			work = append(work, pod)
		}
	}
	return work
}

// checkGates makes sure that nobody but its owner takes a gate away.
func (w *World) checkGates(before, after *corev1.Pod, by string) {
	has := map[string]bool{}
	for _, g := range after.Spec.SchedulingGates {
		has[g.Name] = true
	}
	for _, g := range before.Spec.SchedulingGates {
		if !has[g.Name] && g.Name != api.CapacityGate && by != byUser {
			w.fail("%s took the gate %s off pod %s, which is not its own", by, g.Name, after.Name)
		}
	}
}

// observer lets the cluster know of machines, and checks those that go.
type observer struct{ world *World }

var _ emulator.Observer = observer{}

// OnBoot implements emulator.Observer.
func (o observer) OnBoot(vm emulator.VM) {
	o.world.logf("machine %s of %s runs", vm.InstanceID, vm.Set)
	o.world.Cluster.OnBoot(vm)
}

// OnGone implements emulator.Observer.
func (o observer) OnGone(vm emulator.VM) {
	w := o.world
	w.logf("machine %s of %s is gone", vm.InstanceID, vm.Set)
	w.gone[strings.ToLower(k3sagent.SystemUUID(vm))] = time.Now()
	if !w.Cluster.Joined(vm) {
		w.unjoined[vm.Set] = append(w.unjoined[vm.Set], time.Now())
	}
	if node := w.Cluster.NodeOf(vm); node != nil {
		if w.byHand {
			w.taken[node.UID], w.takenNames[node.Name] = true, true
		}
		for _, pod := range w.workOn(node) {
			if w.taken[node.UID] {
				w.lost[pod.UID] = true
				continue
			}
			w.fail("machine %s of %s was stopped with pod %s on it", vm.InstanceID, vm.Set, pod.Name)
		}
	}
	w.Cluster.OnGone(vm)
}

// checkCloud checks what has become of the scale sets.
func (w *World) checkCloud() {
	history := w.Cloud.History()
	for _, e := range history[w.read:] {
		if e.Kind == emulator.EventApproved {
			w.happened(e.VMID)
		}
		if e.Kind != emulator.CapacityChanged {
			continue
		}
		w.logf("capacity of %s: %d to %d by %q %s", e.Set, e.Old, e.New, e.By, e.How)
		if e.By == "" {
			continue
		}
		for _, p := range w.plan.pools {
			if p.name == e.Set && e.New > p.max && e.New > e.Old {
				w.fail("%s was raised to %d, above its maximum of %d", e.Set, e.New, p.max)
			}
		}
		if e.How == emulator.ByPatch && e.New < e.Old {
			w.fail("the capacity of %s was lowered from %d to %d", e.Set, e.Old, e.New)
		}
	}
	w.read = len(history)
}

// workLeft returns a piece of work that is not done, "" if all is.
func (w *World) workLeft() string {
	for _, pod := range cluster.All[*corev1.Pod](w.Cluster.Store) {
		if isWork(pod) {
			return "pod " + pod.Name
		}
	}
	return w.Cluster.UnfinishedJob()
}

// machinesLeft returns a pool that has not its minimum of machines, "" if all do.
// Those that are deallocated do not count.
func (w *World) machinesLeft() string {
	count := map[string]int{}
	for _, vm := range w.Cloud.VMs() {
		if !w.off(w.Cluster.NodeOf(vm)) {
			count[vm.Set]++
		}
	}
	for _, p := range w.plan.pools {
		if count[p.name] != p.min {
			return p.name
		}
	}
	return ""
}

// repairsUsedUp reports whether so many machines of a pool did not join and went
// that the pool may buy none for the time being.
func (w *World) repairsUsedUp() bool {
	for _, gone := range w.unjoined {
		recent := slices.DeleteFunc(gone, func(t time.Time) bool { return time.Since(t) > repairMemory })
		if len(recent) >= mostRepairs {
			return true
		}
	}
	return false
}

const (
	// repairMemory is how long a machine that did not join counts, and mostRepairs
	// how many may count before nothing is bought. Source: CHANGELOG.md, "four an
	// hour and pool at most".
	repairMemory = time.Hour
	mostRepairs  = 4
)

// startingLeft reports whether a node that is ready still has the startup taint.
func (w *World) startingLeft() bool {
	return slices.ContainsFunc(cluster.All[*corev1.Node](w.Cluster.Store), func(node *corev1.Node) bool {
		return cluster.Ready(node) && slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == api.StartupTaint })
	})
}

// allJoined reports whether every machine is a node. One that was reimaged joins anew.
func (w *World) allJoined() bool {
	for _, vm := range w.Cloud.VMs() {
		if w.Cluster.NodeOf(vm) == nil {
			return false
		}
	}
	return true
}

// checkEnd checks what must hold in the end.
func (w *World) checkEnd() {
	if left := w.workLeft(); left != "" {
		w.fail("%s could run but has not", left)
		return
	}
	if left := w.machinesLeft(); left != "" {
		w.fail("%s does not have its minimum of machines although nothing is left to do", left)
		return
	}
	if left := w.residue(); left != "" {
		w.fail("%s", left)
	}
}

// off reports whether the node's machine was retired by deallocating it.
func (w *World) off(node *corev1.Node) bool {
	if _, up := w.Cluster.Machine(node); up || node == nil {
		return false
	}
	r := api.RestartOf(node)
	return r != nil && r.Fate == api.FateDeallocate && r.Done != nil && w.machineOf(node)
}

// machineOf reports whether there is a machine that the node was recorded as.
func (w *World) machineOf(node *corev1.Node) bool {
	return slices.ContainsFunc(w.Cloud.VMs(), func(vm emulator.VM) bool { return vm.VMID == node.Annotations[api.VMIDAnnotation] })
}

// residue returns what is left of a machine or of a retirement that is over, ""
// if nothing is.
func (w *World) residue() string {
	for _, node := range cluster.All[*corev1.Node](w.Cluster.Store) {
		if w.off(node) {
			continue
		}
		if _, up := w.Cluster.Machine(node); !up {
			return fmt.Sprintf("node %s is left of a machine that is gone", node.Name)
		}
		for _, key := range []string{api.RetiringAnnotation, api.DeletingAnnotation, api.RestartingAnnotation, api.InterruptionsAnnotation, api.ApprovedAnnotation} {
			if _, ok := node.Annotations[key]; ok {
				return fmt.Sprintf("node %s still carries the annotation %s", node.Name, key)
			}
		}
		if _, ok := node.Labels[api.RetiredLabel]; ok {
			return fmt.Sprintf("node %s is still fenced", node.Name)
		}
		for _, t := range node.Spec.Taints {
			return fmt.Sprintf("node %s still carries the taint %s", node.Name, t.Key)
		}
		if api.Outdated(node) {
			return fmt.Sprintf("node %s has not been replaced although its machine lacks the latest model", node.Name)
		}
	}
	return ""
}

// checkLateBinds makes sure that no process has counted a pod that landed on a
// node after its commitment.
func (w *World) checkLateBinds() {
	for _, p := range w.processes {
		families, err := p.metrics.Gather()
		if err != nil {
			w.fail("the metrics of %s cannot be read: %v", p.name, err)
		}
		for _, f := range families {
			if f.GetName() == "tidegate_late_binds_total" && f.GetMetric()[0].GetCounter().GetValue() > 0 {
				w.fail("%s counted late binds", p.name)
			}
		}
	}
}

// cost returns how long machines have run so far, weighted with their cores, and
// the most cores that there were at a time.
func (w *World) cost() (machineTime time.Duration, peak int) {
	size := map[string]int{}
	for _, p := range w.plan.pools {
		size[p.name] = p.cpu
	}
	cores, since := 0, w.begin
	off := map[string]bool{} // deallocated machines, by VMID
	pass := func(t time.Time) {
		machineTime += time.Duration(cores) * t.Sub(since)
		since = t
	}
	for _, e := range w.Cloud.History() {
		switch e.Kind {
		case emulator.InstanceCreated:
			pass(e.Time)
			cores += size[e.Set]
			peak = max(peak, cores)
		case emulator.InstanceDeleted, emulator.InstanceStopping:
			if !off[e.VMID] {
				pass(e.Time)
				cores -= size[e.Set]
			}
			off[e.VMID] = e.Kind == emulator.InstanceStopping
		case emulator.InstanceStarting:
			if off[e.VMID] {
				pass(e.Time)
				cores += size[e.Set]
				peak = max(peak, cores)
			}
			off[e.VMID] = false
		}
	}
	pass(time.Now())
	return machineTime, peak
}
