package sim

import (
	"cmp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// memory is what a process knows beside what it sees: what it released itself and
// when it began to, when it has seen which pod on which node, until when each
// node was open, and since when it has known the DaemonSet.
type memory struct {
	daemons  time.Time // zero if it does not
	released map[types.UID]*corev1.Pod
	begun    map[types.UID]time.Time
	stays    map[types.UID]*stay
	open     map[types.UID]bool
	openTill map[types.UID]time.Time
	gone     map[string]goneNode
}

// goneNode is a node that has been removed, as a process has seen it.
type goneNode struct {
	node *corev1.Node
	at   time.Time
}

// stay is the time that a pod spent on its node, as a process has seen it.
type stay struct {
	pod         *corev1.Pod
	from, until time.Time // until is zero while it lasts
}

// recent is how long a process may go on with a plan that knows nothing of what
// it has seen since: a release are two requests.
const recent = 70 * time.Second

func newMemory(view *cluster.Cache) *memory {
	m := &memory{
		released: map[types.UID]*corev1.Pod{}, begun: map[types.UID]time.Time{}, stays: map[types.UID]*stay{},
		open: map[types.UID]bool{}, openTill: map[types.UID]time.Time{}, gone: map[string]goneNode{},
	}
	_, _ = view.Informer(&corev1.Node{}).AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { m.seeNode(o.(*corev1.Node)) },
		UpdateFunc: func(_, o any) { m.seeNode(o.(*corev1.Node)) },
		DeleteFunc: func(o any) { m.seeGone(o.(*corev1.Node)) },
	})
	_, _ = view.Informer(&appsv1.DaemonSet{}).AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { m.daemons = time.Now() },
	})
	_, _ = view.Informer(&corev1.Pod{}).AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { m.see(o.(*corev1.Pod), false) },
		UpdateFunc: func(_, o any) { m.see(o.(*corev1.Pod), false) },
		DeleteFunc: func(o any) { m.see(o.(*corev1.Pod), true) },
	})
	return m
}

// seeNode notes whether the node is ready, and neither taint nor mark keeps pods
// from it.
func (m *memory) seeNode(node *corev1.Node) {
	_, marked := node.Annotations[api.RetiringAnnotation]
	open := cluster.Ready(node) && len(node.Spec.Taints) == 0 && !marked
	if m.open[node.UID] && !open {
		m.openTill[node.UID] = time.Now()
	}
	m.open[node.UID] = open
}

// seeGone notes that the node was removed.
func (m *memory) seeGone(node *corev1.Node) {
	m.gone[node.Name] = goneNode{node, time.Now()}
	if m.open[node.UID] {
		m.openTill[node.UID] = time.Now()
	}
	delete(m.open, node.UID)
}

// wasOpen reports whether the node takes pods, or did not long ago.
func (m *memory) wasOpen(node *corev1.Node) bool {
	till, ok := m.openTill[node.UID]
	return m.open[node.UID] || ok && time.Since(till) < recent
}

// later reports whether the process began to release a pod after the other one.
func (m *memory) later(pod, other *corev1.Pod) bool {
	began, ok := m.begun[other.UID]
	return ok && m.begun[pod.UID].After(began)
}

func (m *memory) see(pod *corev1.Pod, gone bool) {
	if pod.Spec.NodeName == "" {
		return
	}
	s := m.stays[pod.UID]
	if s == nil {
		s = &stay{from: time.Now()}
		m.stays[pod.UID] = s
	}
	s.pod = pod
	if s.until.IsZero() && (gone || !unfinished(pod)) {
		s.until = time.Now()
	}
}

// at returns what the process has seen on the node at a time, and the DaemonSet's
// pod.
func (m *memory) at(t time.Time, node string) []*corev1.Pod {
	var on []*corev1.Pod
	for _, s := range m.stays {
		if s.pod.Spec.NodeName == node && !s.from.After(t) && (s.until.IsZero() || s.until.After(t)) {
			on = append(on, s.pod)
		}
	}
	if m.daemons.IsZero() || m.daemons.After(t) {
		return on
	}
	return withDaemon(on)
}

// moments returns all times, not long ago, at which something has changed on the
// node for the process, and now.
func (m *memory) moments(node string) []time.Time {
	now := time.Now()
	moments := []time.Time{now, now.Add(-recent)}
	for _, s := range m.stays {
		for _, t := range []time.Time{s.from, s.until} {
			if s.pod.Spec.NodeName == node && now.Sub(t) < recent {
				moments = append(moments, t)
			}
		}
	}
	return moments
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
	first := !w.gangs[gangOf(pod)]
	w.gangs[gangOf(pod)] = true
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
	case !p.memory.wasOpen(p.node(node)):
		w.fail("pod %s was released towards %s, which does not take pods", pod.Name, node)
	case first:
		w.checkGang(p, pod)
	}
}

// noteNomination notes when a process began to release a pod: it nominates a
// node for it first, and the request may have been under way for a while.
func (w *World) noteNomination(pod *corev1.Pod, by string) {
	if w.serving != nil && w.serving.from.name == by && w.serving.from.memory != nil && pod.Status.NominatedNodeName != "" && api.HasCapacityGate(pod) {
		w.serving.from.memory.begun[pod.UID] = w.serving.sent
	}
}

// room returns how many pods like that one the node has room for, beside what
// is on it and what was released towards it before. What the process began to
// release later had to mind this one, and not the other way round. The process may go by a plan
// of a while ago; the most favourable moment counts.
func (p *process) room(name string, like *corev1.Pod) int {
	node := p.node(name)
	if node == nil {
		return 0
	}
	best := 0
	for _, t := range p.memory.moments(name) {
		known := p.memory.at(t, name)
		for _, pod := range p.coming(name) {
			if pod.UID != like.UID && !p.memory.later(pod, like) && fitting(node, known, pod) > 0 {
				known = append(known, pod)
			}
		}
		best = max(best, fitting(node, known, like))
	}
	return best
}

// withDaemon adds the DaemonSet's pod that the node will get if it has none yet.
func withDaemon(on []*corev1.Pod) []*corev1.Pod {
	if slices.ContainsFunc(on, func(pod *corev1.Pod) bool { return !isWork(pod) && unfinished(pod) }) {
		return on
	}
	return append(on, &corev1.Pod{Spec: daemonSet().Spec.Template.Spec})
}

// fitting returns how many pods like that one fit beside the others.
func fitting(node *corev1.Node, others []*corev1.Pod, like *corev1.Pod) int {
	cpu, memory, pods := cluster.Room(node, others)
	wantCPU, wantMemory := cluster.Requests(like)
	return int(min(cpu/wantCPU, memory/wantMemory, pods))
}

// coming are the pods that the process released towards the node and that are not
// bound, as far as it is true, in the order in which the scheduler takes pods: the
// oldest first. If not all of them fit any more, the last are those without a place.
func (p *process) coming(name string) []*corev1.Pod {
	var coming []*corev1.Pod
	for _, released := range p.memory.released {
		now := cluster.Get[*corev1.Pod](p.world.Cluster.Store, released.Namespace, released.Name)
		if now != nil && now.UID == released.UID && now.Spec.NodeName == "" && released.Status.NominatedNodeName == name {
			coming = append(coming, released)
		}
	}
	slices.SortFunc(coming, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return coming
}

// node returns the node as the process sees it, or saw it not long ago.
func (p *process) node(name string) *corev1.Node {
	found, ok, _ := p.view.Informer(&corev1.Node{}).GetByKey(name)
	if ok {
		return found.(*corev1.Node)
	}
	if g := p.memory.gone[name]; time.Since(g.at) < recent {
		return g.node
	}
	return nil
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

// gangOf names the gang that the pod belongs to; each other pod is one of its
// own.
func gangOf(pod *corev1.Pod) string {
	request, _ := api.ParsePodRequest(pod.Annotations)
	owner := metav1.GetControllerOf(pod)
	switch {
	case request.Gang != "":
		return request.Gang
	case request.AllOrNothing && owner != nil:
		return string(owner.UID)
	}
	return string(pod.UID)
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
