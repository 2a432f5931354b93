package sim

import (
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
	case p.room(node, pod) < 0:
		w.fail("pod %s was released towards %s, which has no room for it", pod.Name, node)
	case first:
		w.checkGang(p, pod)
	}
}

// room returns how many pods like that one the node has room for; negative if
// there is too little for those that are there or coming.
func (p *process) room(name string, like *corev1.Pod) int {
	node := p.node(name)
	if node == nil {
		return -1
	}
	on := map[types.UID]*corev1.Pod{}
	for _, o := range p.view.Informer(&corev1.Pod{}).List() {
		if pod := o.(*corev1.Pod); pod.Spec.NodeName == name && unfinished(pod) && time.Since(p.memory.bound[pod.UID]) > recent {
			on[pod.UID] = pod
		}
	}
	for uid, released := range p.memory.released {
		now := cluster.Get[*corev1.Pod](p.world.Cluster.Store, released.Namespace, released.Name)
		if now == nil || now.UID != uid || !unfinished(now) || now.Spec.NodeName != "" && now.Spec.NodeName != name {
			continue
		}
		if released.Status.NominatedNodeName == name {
			on[uid] = released
		}
	}
	var list []*corev1.Pod
	for _, pod := range on {
		list = append(list, pod)
	}
	cpu, memory, pods := cluster.Room(node, list)
	if cpu < 0 || memory < 0 || pods < 0 {
		return -1
	}
	wantCPU, wantMemory := cluster.Requests(like)
	return int(min(cpu/wantCPU, memory/wantMemory, pods))
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
	room := 1 // for the pod itself: it is counted among the released
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
