package extender

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/resource"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/internal/runtimes"
)

// Tenants is a view of the bound and unfinished pods by node, in the few words
// that prioritize needs. It is an event handler of the pod informer, as an
// index would be: to read the pods themselves on every call, ten thousand of
// them for a thousand nodes, takes several times as long as all the rest.
//
// The zero value is empty and ready.
type Tenants struct {
	mu     sync.RWMutex
	byNode map[string]map[cache.ObjectName]tenant
	// learned is how long pods have run.
	learned runtimes.Learner
}

var _ cache.ResourceEventHandler = (*Tenants)(nil)

// tenant is what one pod means for its node.
type tenant struct {
	// pins is true for a pod that keeps its node and does not end by itself.
	pins bool
	// work is true for a pod that keeps its node and does.
	work bool
	// start is when the pod started; zero if it has not yet.
	start time.Time
	// duration is how long it should run from there; 0 if unknown.
	duration time.Duration
	// cpu, in thousandths of a core, and memory, in bytes, are its requests.
	cpu, memory int64
}

// OnAdd implements cache.ResourceEventHandler.
func (t *Tenants) OnAdd(obj any, _ bool) { t.replace(nil, obj) }

// OnUpdate implements cache.ResourceEventHandler. A pod recreated under its
// name may come as an update, on another node.
func (t *Tenants) OnUpdate(oldObj, newObj any) { t.replace(oldObj, newObj) }

// OnDelete implements cache.ResourceEventHandler.
func (t *Tenants) OnDelete(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	t.replace(obj, nil)
}

func (t *Tenants) replace(oldObj, newObj any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if pod, ok := oldObj.(*corev1.Pod); ok {
		pods := t.byNode[pod.Spec.NodeName]
		delete(pods, cache.MetaObjectToName(pod))
		if len(pods) == 0 {
			delete(t.byNode, pod.Spec.NodeName)
		}
	}
	pod, ok := newObj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return
	}
	if api.Finished(pod) {
		if old, ok := oldObj.(*corev1.Pod); !ok || !api.Finished(old) {
			t.learned.Observe(pod)
		}
		return
	}
	if t.byNode == nil {
		t.byNode = map[string]map[cache.ObjectName]tenant{}
	}
	if t.byNode[pod.Spec.NodeName] == nil {
		t.byNode[pod.Spec.NodeName] = map[cache.ObjectName]tenant{}
	}
	t.byNode[pod.Spec.NodeName][cache.MetaObjectToName(pod)] = tenantOf(pod, t.learned.Expect(pod))
}

func tenantOf(pod *corev1.Pod, duration time.Duration) tenant {
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	t := tenant{cpu: requests.Cpu().MilliValue(), memory: requests.Memory().Value()}
	if api.OwnedByDaemonSet(pod) || api.IsMirror(pod) {
		return t
	}
	t.work = api.EndsByItself(pod)
	t.pins = !t.work
	if pod.Status.StartTime != nil {
		t.start = pod.Status.StartTime.Time
	}
	t.duration = duration
	return t
}

// expectedEnd is when the pod should end by its hint, else as others like it did,
// else by its deadline. A pod without any of these, or past it, is taken to be halfway through: the longer
// something has run, the longer it is likely to go on.
func (t tenant) expectedEnd(now time.Time) time.Time {
	start := t.start
	if start.IsZero() {
		start = now
	}
	if end := start.Add(t.duration); end.After(now) {
		return end
	}
	return now.Add(now.Sub(start))
}
