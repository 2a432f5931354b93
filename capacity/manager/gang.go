package manager

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// gangName names a gang of pods by their annotation; its name is empty for none.
type gangName struct{ namespace, name string }

func gangOf(o *corev1.Pod) gangName {
	request, _ := api.ParsePodRequest(o.Annotations)
	if request.Gang == "" {
		return gangName{}
	}
	return gangName{o.Namespace, request.Gang}
}

// namedGang is the gang of pods that name it, to the planner.
func namedGang(name string) string { return "named/" + name }

// storedGang are the pods that name a gang, also those that have finished.
type storedGang struct {
	pods   map[types.UID]*storedPod
	looked bool // since a pod has changed
	// last is when a pod was last let through the gate, also one that has been
	// deleted since: pods go with their node. Zero if none was.
	last time.Time
}

func (s *store) joinGang(stored *storedPod) {
	if stored.gang.name == "" {
		return
	}
	gang := s.gangs[stored.gang]
	if gang == nil {
		gang = &storedGang{pods: map[types.UID]*storedPod{}}
		s.gangs[stored.gang] = gang
	}
	gang.pods[stored.object.UID], gang.looked = stored, false
}

// leaveGang takes the pod out of its gang, which is forgotten with its last pod
// unless that is about to come back.
func (s *store) leaveGang(stored *storedPod, forGood bool) {
	gang := s.gangs[stored.gang]
	if gang == nil {
		return
	}
	gang.last = gang.released()
	delete(gang.pods, stored.object.UID)
	gang.looked = false
	if forGood && len(gang.pods) == 0 {
		delete(s.gangs, stored.gang)
	}
}

// follow lets the pods at the gate of a gang that has started follow the others,
// however many of these are left. A gang is released pod by pod; where a write
// fails or a leader ends in between, the first have perhaps finished when the
// last one's turn comes. A release before the pod was there was another gang's
// of the same name.
func (s *store) follow() {
	for _, gang := range s.gangs {
		if gang.looked {
			continue
		}
		gang.looked = true
		released := gang.released()
		gang.last = released
		for _, stored := range gang.pods {
			if pod := stored.pod; pod != nil && pod.Gated && pod.GangSize > 0 && !released.Before(pod.Created) {
				s.resize(stored, 0)
			}
		}
	}
}

// released is when a pod of the gang was last let through the gate; zero if
// none was.
func (g *storedGang) released() time.Time {
	last := g.last
	for _, stored := range g.pods {
		condition := podCondition(&stored.object.Status, api.CapacityCondition)
		if !api.HasCapacityGate(stored.object) && condition != nil && condition.Status == corev1.ConditionTrue && condition.LastTransitionTime.After(last) {
			last = condition.LastTransitionTime.Time
		}
	}
	return last
}

// follows reports whether the pod waits at the gate for the rest of a gang that
// has started.
func (s *store) follows(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := s.pods[uid]
	return stored != nil && stored.gang.name != "" && stored.pod != nil && stored.pod.Gated && stored.pod.GangSize == 0
}

// gangStarted reports whether it stands on the pod that its gang has started.
func gangStarted(o *corev1.Pod) bool {
	condition := podCondition(&o.Status, api.GangStartedCondition)
	return condition != nil && condition.Status == corev1.ConditionTrue
}

// resize sets the number of pods that the gang of a waiting pod needs.
func (s *store) resize(stored *storedPod, size int) {
	sized := *stored.pod // snapshots share the old one
	sized.GangSize = size
	if i, found := slices.BinarySearchFunc(s.queue, &sized, capacity.ComparePods); found {
		s.queue[i] = &sized
	}
	stored.pod = &sized
}
