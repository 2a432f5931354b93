package manager

import (
	"errors"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
		s.held[pod] = held{node: node}
	}
}

// held is the place of a pod whose release is under way or not seen yet.
type held struct {
	node string
	// until is when it is known to have failed; zero for not before the caches
	// show something else.
	until time.Time
}

// letGo ends that: the pod was not released.
func (s *store) letGo(pod types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, pod)
}

// letGoLater ends that once the release can no longer be carried out: nobody knows
// what has become of it.
func (s *store) letGoLater(pod types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.held[pod]; ok {
		h.until = s.now().Add(requestLife)
		s.held[pod] = h
	}
}

// requestLife is how long an API server may still carry out a request whose client
// has given up. Source: kube-apiserver, --request-timeout.
const requestLife = time.Minute

// refused reports whether the API server has answered that it does not carry the
// request out.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError
}

// showHeld shows the held pods among the waiting ones as what they are about to
// be: released towards their nodes.
func (s *store) showHeld(waiting []*capacity.Pod) {
	for uid, h := range s.held {
		if !h.until.IsZero() && !s.now().Before(h.until) {
			delete(s.held, uid)
			continue
		}
		pod := s.pods[uid].pod
		if pod == nil {
			continue
		}
		if i, found := slices.BinarySearchFunc(waiting, pod, capacity.ComparePods); found {
			released := *pod
			released.Gated, released.Released, released.Nominated = false, true, h.node
			waiting[i] = &released
		}
	}
}
