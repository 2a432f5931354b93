package sim

import (
	"iter"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// memory is what a process knows beside what it sees: what it released itself,
// and since when it has seen pods bound.
type memory struct {
	released map[types.UID]*corev1.Pod
	bound    map[types.UID]time.Time
}

// recent is how long a process may go on with a plan that does not know of a
// pod that it has seen bound since: a release are two requests.
const recent = 70 * time.Second

func newMemory(view *cluster.Cache) *memory {
	m := &memory{released: map[types.UID]*corev1.Pod{}, bound: map[types.UID]time.Time{}}
	see := func(o any) {
		if pod := o.(*corev1.Pod); pod.Spec.NodeName != "" && m.bound[pod.UID].IsZero() {
			m.bound[pod.UID] = time.Now()
		}
	}
	_, _ = view.Informer(&corev1.Pod{}).AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: see, UpdateFunc: func(_, o any) { see(o) },
	})
	return m
}

// checkRelease makes sure that a pod is let through the gate only with room for
// it, as far as its process can know, and a gang only as a whole. The longest
// wait that a pod asks for ends all that.
func (w *World) checkRelease(pod *corev1.Pod, by string) {
	if w.serving == nil || w.serving.from.name != by {
		w.fail("%s took the gate of the capacity manager off pod %s", by, pod.Name)
		return
	}
	p := w.serving.from
	request, _ := api.ParsePodRequest(pod.Annotations)
	expired := request.MaxWait > 0 && time.Since(pod.CreationTimestamp.Time) >= request.MaxWait
	node := pod.Status.NominatedNodeName
	first := !w.started(pod)
	if !w.serving.unknown {
		p.memory.released[pod.UID] = pod
		w.serving.released = append(w.serving.released, pod.UID)
	}
	switch {
	case expired:
	case node == "":
		w.fail("pod %s was released without a node", pod.Name)
	case p.room(node, pod) < 1:
		w.fail("pod %s was released towards %s, which has no room for it", pod.Name, node)
	case first:
		w.checkGang(p, pod)
	}
}

// room returns how many pods like that one the node has room for, beside what
// is on it and what was released towards it before. Of what it has seen bound
// since a while ago the process's plan may or may not have known; the most
// favourable case counts.
func (p *process) room(name string, like *corev1.Pod) int {
	node := p.node(name)
	if node == nil {
		return 0
	}
	best := 0
	for known := range p.pictures(name) {
		for _, pod := range p.coming(name) {
			if pod.UID != like.UID && fitting(node, known, pod) > 0 {
				known = append(known, pod)
			}
		}
		best = max(best, fitting(node, known, like))
	}
	return best
}

// fitting returns how many pods like that one fit beside the others.
func fitting(node *corev1.Node, others []*corev1.Pod, like *corev1.Pod) int {
	cpu, memory, pods := cluster.Room(node, others)
	wantCPU, wantMemory := cluster.Requests(like)
	return int(min(cpu/wantCPU, memory/wantMemory, pods))
}

// pictures yields what a plan may have seen on the node: what was seen long ago,
// and with it one after the other of what was seen since.
func (p *process) pictures(name string) iter.Seq[[]*corev1.Pod] {
	var on []*corev1.Pod
	for _, o := range p.view.Informer(&corev1.Pod{}).List() {
		if pod := o.(*corev1.Pod); pod.Spec.NodeName == name && unfinished(pod) {
			on = append(on, pod)
		}
	}
	slices.SortFunc(on, func(a, b *corev1.Pod) int { return p.memory.bound[a.UID].Compare(p.memory.bound[b.UID]) })
	return func(yield func([]*corev1.Pod) bool) {
		for i := range len(on) + 1 {
			later := i < len(on) && time.Since(p.memory.bound[on[i].UID]) > recent
			if !later && !yield(slices.Clone(on[:i])) {
				return
			}
		}
	}
}

// coming are the pods that the process released towards the node, in that
// order, and that are not bound, as far as it is true.
func (p *process) coming(name string) []*corev1.Pod {
	var coming []*corev1.Pod
	for _, released := range p.memory.released {
		now := cluster.Get[*corev1.Pod](p.world.Cluster.Store, released.Namespace, released.Name)
		if now != nil && now.UID == released.UID && now.Spec.NodeName == "" && released.Status.NominatedNodeName == name {
			coming = append(coming, released)
		}
	}
	slices.SortFunc(coming, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return coming
}

func (p *process) node(name string) *corev1.Node {
	found, ok, _ := p.view.Informer(&corev1.Node{}).GetByKey(name)
	if !ok {
		return nil
	}
	return found.(*corev1.Node)
}

func unfinished(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// checkGang makes sure that a gang is whole when its first pod is released, and
// that all of it has room.
func (w *World) checkGang(p *process, pod *corev1.Pod) {
	members, size := w.gang(pod)
	if size == 0 {
		return
	}
	if len(members) < size {
		w.fail("pod %s was released when its gang had %d of %d pods", pod.Name, len(members), size)
		return
	}
	room := 0
	for _, o := range p.view.Informer(&corev1.Node{}).List() {
		room += max(0, p.room(o.(*corev1.Node).Name, pod))
	}
	waiting := 0
	for _, m := range members {
		if api.HasCapacityGate(m) {
			waiting++
		}
	}
	if room < waiting+1 {
		w.fail("pod %s was released when there was room for %d of the %d pods of its gang", pod.Name, room, waiting+1)
	}
}

// gang returns the pods of the pod's gang that are there, and how many it needs
// to start; 0 if it is in none.
func (w *World) gang(pod *corev1.Pod) (members []*corev1.Pod, size int) {
	request, _ := api.ParsePodRequest(pod.Annotations)
	owner := metav1.GetControllerOf(pod)
	switch {
	case request.Gang != "":
		size = request.GangSize
	case request.AllOrNothing && owner != nil:
		job := cluster.Get[*batchv1.Job](w.Cluster.Store, pod.Namespace, owner.Name)
		size = int(*job.Spec.Parallelism)
	default:
		return nil, 0
	}
	for _, other := range cluster.All[*corev1.Pod](w.Cluster.Store) {
		theirs := metav1.GetControllerOf(other)
		sameJob := owner != nil && theirs != nil && owner.UID == theirs.UID
		if request.Gang != "" && other.Annotations[api.GangAnnotation] == request.Gang || request.Gang == "" && sameJob {
			members = append(members, other)
		}
	}
	return members, size
}

// started reports whether another pod of the pod's gang was released before.
func (w *World) started(pod *corev1.Pod) bool {
	members, _ := w.gang(pod)
	for _, m := range members {
		if m.UID != pod.UID && !api.HasCapacityGate(m) {
			return true
		}
	}
	return false
}
