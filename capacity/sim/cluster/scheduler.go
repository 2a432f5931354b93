package cluster

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
)

// Extender is what the scheduler asks about nodes: which of them may take the
// pod, and which are better, from 0 to 10. It may be absent: then ok is false
// and the scheduler does without it.
type Extender interface {
	Filter(pod *corev1.Pod, nodes []string) (passed []string, ok bool)
	Prioritize(pod *corev1.Pod, nodes []string) (scores map[string]int64, ok bool)
}

const (
	// cycle is how long the scheduler takes for a pod.
	cycle = 5 * time.Millisecond
	// bindRetry is how long a pod waits after its binding was refused.
	bindRetry = time.Second
	// flush is how long an unschedulable pod waits for an event before it is
	// tried again all the same. Source: kube-scheduler's queue.
	flush = 5 * time.Minute
)

// scheduler places one pod at a time by what its informers have seen. What it
// has placed it assumes to be there until the informer says so.
type scheduler struct {
	cluster     *Cluster
	extender    Extender
	nodes, pods *Informer
	assumed     map[types.UID]*corev1.Pod // with the node that was chosen
	notBefore   map[types.UID]time.Time
	running     bool // a cycle is about to run
}

func newScheduler(c *Cluster) *scheduler {
	s := &scheduler{
		cluster: c, nodes: c.follow("Node", &c.Delays.Scheduler), pods: c.follow("Pod", &c.Delays.Scheduler),
		assumed: map[types.UID]*corev1.Pod{}, notBefore: map[types.UID]time.Time{},
	}
	changed := toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { s.wake() },
		UpdateFunc: func(_, now any) { s.seen(now); s.wake() },
		DeleteFunc: func(gone any) { s.seen(gone); s.wake() },
	}
	for _, i := range []*Informer{s.nodes, s.pods} {
		_, _ = i.AddEventHandler(changed)
	}
	return s
}

// UseExtender sets the scheduler's extender, nil for none.
func (c *Cluster) UseExtender(e Extender) { c.scheduler.extender = e }

// seen ends an assumption that has come true or to nothing.
func (s *scheduler) seen(o any) {
	if pod, ok := o.(*corev1.Pod); ok && (pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil) {
		delete(s.assumed, pod.UID)
		delete(s.notBefore, pod.UID)
	}
}

// wake tries every waiting pod soon: something has changed.
func (s *scheduler) wake() {
	for uid, t := range s.notBefore {
		if time.Until(t) > bindRetry {
			delete(s.notBefore, uid)
		}
	}
	s.again(cycle)
}

func (s *scheduler) again(d time.Duration) {
	if s.running {
		return
	}
	s.running = true
	s.cluster.Loop.In(d, func() {
		s.running = false
		if s.next() {
			s.again(cycle)
		}
	})
}

// next places the first pod of the queue, and reports whether there may be
// another one.
func (s *scheduler) next() bool {
	var queue []*corev1.Pod
	for _, pod := range held[*corev1.Pod](s.pods) {
		if pod.Spec.SchedulerName != "" || pod.Spec.NodeName != "" || len(pod.Spec.SchedulingGates) > 0 || pod.DeletionTimestamp != nil || finished(pod) || s.assumed[pod.UID] != nil {
			continue
		}
		if time.Now().Before(s.notBefore[pod.UID]) {
			continue
		}
		queue = append(queue, pod)
	}
	if len(queue) == 0 {
		return false
	}
	pod := slices.MinFunc(queue, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), compareNames(a, b))
	})
	node := s.choose(pod)
	if node == "" {
		s.hold(pod, flush)
		s.cluster.Loop.In(s.cluster.Delays.Request.draw(s.cluster.Loop.Random), func() { s.unschedulable(pod) })
		return true
	}
	chosen := pod.DeepCopy()
	chosen.Spec.NodeName = node
	s.assumed[pod.UID] = chosen
	s.bind(pod, node)
	return true
}

func (s *scheduler) hold(pod *corev1.Pod, d time.Duration) {
	s.notBefore[pod.UID] = time.Now().Add(d)
	s.cluster.Loop.In(d, func() { s.again(cycle) })
}

func (s *scheduler) unschedulable(pod *corev1.Pod) {
	now := Get[*corev1.Pod](s.cluster.Store, pod.Namespace, pod.Name)
	if now == nil || now.UID != pod.UID || now.Spec.NodeName != "" {
		return
	}
	for _, c := range now.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
			return
		}
	}
	s.cluster.changePod(byScheduler, pod, func(p *corev1.Pod) {
		setCondition(p, corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable)
	})
}

// choose returns the best node for the pod, "" if none will do. The node that
// it is nominated for is tried first.
func (s *scheduler) choose(pod *corev1.Pod) string {
	used := map[string][]*corev1.Pod{}
	for _, p := range held[*corev1.Pod](s.pods) {
		if p.Spec.NodeName != "" && !finished(p) {
			used[p.Spec.NodeName] = append(used[p.Spec.NodeName], p)
		}
	}
	for _, p := range s.assumed {
		used[p.Spec.NodeName] = append(used[p.Spec.NodeName], p)
	}
	var fitting []string
	room := map[string]int64{}
	for _, node := range held[*corev1.Node](s.nodes) {
		if feasible(pod, node, used[node.Name]) {
			fitting = append(fitting, node.Name)
			room[node.Name] = leftover(node, used[node.Name])
		}
	}
	if nominated := pod.Status.NominatedNodeName; slices.Contains(fitting, nominated) {
		if passed := s.filter(pod, []string{nominated}); len(passed) > 0 {
			return nominated
		}
	}
	if fitting = s.filter(pod, fitting); len(fitting) == 0 {
		return ""
	}
	scores := map[string]int64{}
	if s.extender != nil && len(fitting) > 1 {
		scores, _ = s.extender.Prioritize(pod, fitting)
	}
	return slices.MaxFunc(fitting, func(a, b string) int {
		return cmp.Or(cmp.Compare(scores[a], scores[b]), cmp.Compare(room[a], room[b]), cmp.Compare(a, b))
	})
}

func (s *scheduler) filter(pod *corev1.Pod, nodes []string) []string {
	if s.extender == nil || len(nodes) == 0 {
		return nodes
	}
	if passed, ok := s.extender.Filter(pod, nodes); ok {
		return passed
	}
	return nodes
}

// bind asks for the binding of what is assumed to be there.
func (s *scheduler) bind(pod *corev1.Pod, node string) {
	s.cluster.Bind(byScheduler, pod, node, func() {
		delete(s.assumed, pod.UID)
		s.hold(pod, bindRetry)
	})
}

// Bind asks an API server to bind the pod. A binding that was admitted lands
// later. One that arrives when the Node is gone is left out: the real API server
// lets it land, on nothing, whoever has removed the Node.
func (c *Cluster) Bind(by string, pod *corev1.Pod, node string, failed func()) {
	server := c.Servers[c.Loop.Random.IntN(len(c.Servers))]
	c.Loop.In(c.Delays.Request.draw(c.Loop.Random), func() {
		if Get[*corev1.Node](c.Store, "", node) == nil || server.admitBinding(node, false) != nil {
			failed()
			return
		}
		c.Loop.In(c.Delays.Write.draw(c.Loop.Random), func() {
			if c.land(by, pod, node) != nil {
				failed()
			}
		})
	})
}
