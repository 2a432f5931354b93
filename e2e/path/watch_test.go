package path

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/tidegate-k3s/tidegate/api"
)

// story is what the pool's nodes went through, as the API server told it.
type story struct {
	mu     sync.Mutex
	states map[string][]string // by node
}

// follow records the states of the pool's nodes until the test ends.
func (w *world) follow() *story {
	w.t.Helper()
	s := &story{states: map[string][]string{}}
	watcher, err := w.Client.CoreV1().Nodes().Watch(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		for event := range watcher.ResultChan() {
			if n, ok := event.Object.(*corev1.Node); ok && strings.HasPrefix(n.Name, w.pool+"0") {
				s.add(n.Name, event.Type, state(n))
			}
		}
	}()
	w.t.Cleanup(watcher.Stop)
	return s
}

func (s *story) add(node string, kind watch.EventType, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == watch.Deleted {
		state = "gone"
	}
	if states := s.states[node]; len(states) == 0 || states[len(states)-1] != state {
		s.states[node] = append(states, state)
	}
}

// of returns the node's states in order.
func (s *story) of(node string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.states[node])
}

// event waits for an event on the object whose reason is this and whose note
// contains the text. Events of nodes are in the namespace default.
func (w *world) event(namespace, object, reason, text string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("event %s on %s says %q", reason, object, text), func() error {
		list, err := w.Client.EventsV1().Events(namespace).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var seen []string
		for _, e := range list.Items {
			if e.Regarding.Name != object {
				continue
			}
			if e.Reason == reason && strings.Contains(e.Note, text) {
				return nil
			}
			seen = append(seen, e.Reason+": "+e.Note)
		}
		return fmt.Errorf("events: %q", seen)
	})
}

// condition returns the pod's condition of Tidegate's, or an empty one.
func condition(p *corev1.Pod) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == api.CapacityCondition {
			return c
		}
	}
	return corev1.PodCondition{}
}

// waits waits until the pod says why it does not run.
func (w *world) waits(pod, reason, text string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("pod %s waits: %s, %q", pod, reason, text), func() error {
		c := condition(w.get(pod))
		if c.Status != corev1.ConditionFalse || c.Reason != reason || !strings.Contains(c.Message, text) {
			return fmt.Errorf("its condition is %+v", c)
		}
		return nil
	})
}
