package manager

import (
	"context"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// uids is a set of objects. It is safe for concurrent use.
type uids struct {
	mu  sync.Mutex
	set map[types.UID]bool
}

func (u *uids) add(uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.set == nil {
		u.set = map[types.UID]bool{}
	}
	u.set[uid] = true
}

func (u *uids) has(uid types.UID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.set[uid]
}

// keep drops all others.
func (u *uids) keep(wanted func(types.UID) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.set, func(uid types.UID, _ bool) bool { return !wanted(uid) })
}

// evictionActions evict pods from machines that go in any case, in the order
// of the decision.
func (m *Manager) evictionActions(o *observation, d capacity.Decision) []action {
	m.late.keep(m.store.exists)
	m.evicted.keep(m.store.exists)
	var actions []action
	for _, e := range d.Evictions {
		pod := o.pod(e.UID)
		if pod == nil {
			continue
		}
		if e.Late && pod.DeletionTimestamp != nil {
			m.countLate(e) // nobody needs to evict it
		}
		// The caches may not show yet what was evicted a moment ago.
		if pod.DeletionTimestamp == nil && !m.evicted.has(e.UID) {
			actions = append(actions, action{key: "pod/" + string(e.UID), run: func(ctx context.Context) error { return m.evict(ctx, pod, e) }})
		}
	}
	return actions
}

// countLate counts a pod that landed on a node being deleted, once.
func (m *Manager) countLate(e capacity.Eviction) {
	if m.late.has(e.UID) {
		return
	}
	m.late.add(e.UID)
	m.metrics.lateBinds.Inc()
	m.log.Error(nil, "a pod landed on a node whose deletion was committed; evicting it", "pod", e.Pod, "node", e.Node)
}

// stillCommitted reports whether the API server has the node as one whose deletion
// or restart is committed. The caches may not show yet that it has come back, and
// what landed there since is not late.
func (m *Manager) stillCommitted(ctx context.Context, name string) (bool, error) {
	n, err := m.kubernetes.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("live read of node %s before a pod that landed there late is evicted: %w", name, err)
	}
	return n.Annotations[api.DeletingAnnotation] != "" || n.Annotations[api.RestartingAnnotation] != "", nil
}

// evict removes a pod in good order, so that its owner makes a new one. The
// API server refuses for as long as a PodDisruptionBudget stands against it.
func (m *Manager) evict(ctx context.Context, pod *corev1.Pod, e capacity.Eviction) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))},
	}
	if e.Late {
		if committed, err := m.stillCommitted(ctx, e.Node); err != nil || !committed {
			return err
		}
		// Caches that lag behind the live read may still show what ran before it.
		eviction.DeleteOptions.Preconditions.ResourceVersion = &pod.ResourceVersion
	}
	err := m.write("evict", func() error {
		return m.client.SubResource("eviction").Create(ctx, pod.DeepCopy(), eviction)
	})
	if e.Late && (err == nil || apierrors.IsTooManyRequests(err)) {
		m.countLate(e)
	}
	switch {
	case apierrors.IsTooManyRequests(err):
		m.log.Info("a PodDisruptionBudget keeps the pod for now; trying again", "pod", e.Pod, "node", e.Node, "why", e.Why)
		m.say(pod, corev1.EventTypeWarning, "EvictionRefused", "Evict", "a PodDisruptionBudget does not let it go yet: %s", e.Why)
		return err
	case err != nil:
		m.report(err, "cannot evict the pod", "pod", e.Pod)
		return err
	}
	m.evicted.add(e.UID)
	if !e.Late {
		m.metrics.interrupted.Inc()
	}
	m.log.Info("evicted pod", "pod", e.Pod, "node", e.Node, "why", e.Why)
	m.say(pod, corev1.EventTypeWarning, "Evicted", "Evict", "evicted from node %s: %s", e.Node, e.Why)
	return nil
}
