package observer

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// Observer records what happens.
type Observer struct {
	client  kubernetes.Interface
	history func() []emulator.Event
	tell    func(string)

	mu      sync.Mutex
	records records
	reasons map[string]string // why pods wait, by UID
}

// New returns an observer of the cluster and of the emulator with that
// history. tell is called with a line for each thing that happens; it must not
// call back.
func New(client kubernetes.Interface, history func() []emulator.Event, tell func(string)) *Observer {
	return &Observer{
		client: client, history: history, tell: tell,
		records: records{pods: map[string]*pod{}, nodes: map[string]*node{}},
		reasons: map[string]string{},
	}
}

// Start watches until ctx ends. It returns once everything that is there has
// been seen.
func (o *Observer) Start(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(o.client, 0)
	pods, nodes := factory.Core().V1().Pods().Informer(), factory.Core().V1().Nodes().Informer()
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandlerFuncs{
		pods:  handlers(o.podSeen, o.podGone),
		nodes: handlers(o.nodeSeen, o.nodeGone),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watch the cluster: %w", err)
		}
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced, nodes.HasSynced) {
		return fmt.Errorf("watch the cluster: %w", ctx.Err())
	}
	return nil
}

func handlers[T any](seen, gone func(T)) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { seen(obj.(T)) },
		UpdateFunc: func(_, obj any) { seen(obj.(T)) },
		DeleteFunc: func(obj any) {
			if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			gone(obj.(T))
		},
	}
}

// first sets t to now if it is not set yet, and reports whether it was.
func first(t *time.Time, now time.Time, happened bool) bool {
	if !happened || !t.IsZero() {
		return false
	}
	*t = now
	return true
}

func (o *Observer) podSeen(p *corev1.Pod) {
	if p.Annotations[gateAnnotation] != "true" && p.Annotations[Judged] != "true" {
		return
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	uid, name := string(p.UID), p.Namespace+"/"+p.Name
	r := o.records.pods[uid]
	if r == nil {
		r = &pod{name: name, created: now, gated: hasGate(p)}
		o.records.pods[uid] = r
	}
	if r.nominated == "" {
		r.nominated = p.Status.NominatedNodeName
	}
	if first(&r.released, now, r.gated && !hasGate(p)) {
		o.tell(fmt.Sprintf("pod %s released towards %s", name, p.Status.NominatedNodeName))
		delete(o.reasons, uid)
	}
	if first(&r.bound, now, p.Spec.NodeName != "") {
		r.node = p.Spec.NodeName
	}
	first(&r.running, now, p.Status.Phase == corev1.PodRunning)
	done := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	if first(&r.done, now, done) {
		r.failed = p.Status.Phase == corev1.PodFailed
		o.tell(fmt.Sprintf("pod %s %s", name, p.Status.Phase))
	}
	r.evicted = r.evicted || p.DeletionTimestamp != nil && r.done.IsZero()
	for _, c := range p.Status.Conditions {
		if c.Type == capacityCondition && c.Status == corev1.ConditionFalse && r.released.IsZero() {
			o.reasons[uid] = c.Message
		}
	}
}

func (o *Observer) podGone(p *corev1.Pod) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.reasons, string(p.UID))
	if r := o.records.pods[string(p.UID)]; r != nil {
		first(&r.gone, time.Now(), true)
	}
}

func (o *Observer) nodeSeen(n *corev1.Node) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.records.nodes[string(n.UID)]
	if r == nil {
		r = &node{name: n.Name, created: now}
		o.records.nodes[string(n.UID)] = r
	}
	if first(&r.ready, now, isReady(n)) {
		o.tell(fmt.Sprintf("node %s is ready", n.Name))
	}
	_, marked := n.Annotations[markAnnotation]
	switch {
	case marked && !r.marked:
		o.tell(fmt.Sprintf("node %s is marked for retirement", n.Name))
	case !marked && r.marked:
		r.rescues++
		o.tell(fmt.Sprintf("node %s is taken back", n.Name))
	}
	r.marked = marked
	if first(&r.committed, now, n.Annotations[deletingAnnotation] != "") {
		o.tell(fmt.Sprintf("node %s is committed to deletion", n.Name))
	}
}

func (o *Observer) nodeGone(n *corev1.Node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.records.nodes[string(n.UID)]; r != nil && first(&r.gone, time.Now(), true) {
		o.tell(fmt.Sprintf("node %s is gone", n.Name))
	}
}

func hasGate(p *corev1.Pod) bool {
	for _, g := range p.Spec.SchedulingGates {
		if g.Name == gateName {
			return true
		}
	}
	return false
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Summary judges everything that has happened so far.
func (o *Observer) Summary() Summary {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.records.history = o.history()
	return o.records.summarise(time.Now())
}

// Reasons counts the waiting pods by what their condition says.
func (o *Observer) Reasons() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	counts := map[string]int{}
	for _, reason := range o.reasons {
		counts[reason]++
	}
	return counts
}
