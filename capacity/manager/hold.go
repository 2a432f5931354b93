package manager

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// hold keeps the pod's place on the node from now on, although the caches still
// show it at the gate: a plan that is made while its release is under way, or
// before the caches have seen it, must not give the place to another pod.
func (s *store) hold(pod types.UID, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stored := s.pods[pod]; node != "" && stored != nil && api.HasCapacityGate(stored.object) {
		s.held[pod] = node
	}
}

// letGo ends that: the pod was not released, as far as is known.
func (s *store) letGo(pod types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, pod)
}

// showHeld shows the held pods among the waiting ones as what they are about to
// be: released towards their nodes.
func (s *store) showHeld(waiting []*capacity.Pod) {
	for uid, node := range s.held {
		pod := s.pods[uid].pod
		if pod == nil {
			continue
		}
		if i, found := slices.BinarySearchFunc(waiting, pod, capacity.ComparePods); found {
			released := *pod
			released.Gated, released.Released, released.Nominated = false, true, node
			waiting[i] = &released
		}
	}
}
