package manager

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// fill puts the cluster as it is now into the snapshot, whose time and pools
// are there already. It returns how many changes the snapshot contains, and the
// VMIDs that nodes may have. What has not changed since an earlier snapshot is
// shared with it.
func (s *store) fill(snapshot *capacity.Snapshot, show func(*capacity.Node) bool) (changes int, vmids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetClasses()
	s.recompile()
	snapshot.Expected = s.expected(snapshot.Now)
	s.follow()
	snapshot.Waiting = slices.Clone(s.queue)
	s.showHeld(snapshot.Waiting)
	snapshot.Daemons = s.daemonClasses()
	s.locate(snapshot.Pools)
	snapshot.Nodes = make([]*capacity.Node, 0, len(s.names))
	for _, name := range s.names {
		if n := s.nodes[name]; n.object != nil {
			snapshot.Nodes = append(snapshot.Nodes, n.show(s.places[name], s.localVolume(n), show))
		}
	}
	return s.changes, s.vmids
}

// forgetClasses drops the classes of pods that are gone, once there are many: a
// cluster that runs for a year sees more of them than it has memory for.
func (s *store) forgetClasses() {
	if s.compiler.Len() <= 2*len(s.pods)+1000 {
		return
	}
	used := map[*fit.Class]bool{}
	for _, stored := range s.pods {
		if stored.pod != nil {
			used[stored.pod.Class] = true
		}
	}
	s.compiler.Keep(used)
	s.daemons = nil
}

// recompile compiles the pods again if a selector came that looks at labels
// that nobody has looked at before, and those that were compiled with the help of
// other objects if one of these has changed.
func (s *store) recompile() {
	s.retouch()
	for s.generation != s.compiler.Generation() {
		s.generation = s.compiler.Generation()
		for _, stored := range s.pods {
			if stored.pod != nil {
				s.reclassify(stored)
			}
		}
		s.daemons = nil
		s.daemonClasses()
	}
}

// reclassify gives the pod the class that it has by now.
func (s *store) reclassify(stored *storedPod) {
	class := classOf(stored.object, s.compiler)
	if class == stored.pod.Class {
		return
	}
	pod := *stored.pod // snapshots share the old one
	pod.Class = class
	if pod.Node != "" {
		n := s.nodes[pod.Node]
		n.pods[pod.UID], n.load = &pod, nil
	} else if i, found := slices.BinarySearchFunc(s.queue, &pod, capacity.ComparePods); found {
		s.queue[i] = &pod
	}
	stored.pod = &pod
}

// show returns the node with its machine, its load and a volume on its disk. What this process knows
// of its retirement is added by the caller, who reports whether there is any.
func (n *storedNode) show(place capacity.Place, volume string, more func(*capacity.Node) bool) *capacity.Node {
	if n.load == nil {
		pods := make([]*capacity.Pod, 0, len(n.pods))
		for _, p := range n.pods {
			pods = append(pods, p)
		}
		slices.SortFunc(pods, capacity.ComparePods)
		n.load, n.shown = capacity.NewLoad(pods), nil
	}
	if n.shown != nil && n.shown.Instance == place.Instance && n.shown.Freed.Equal(n.freed) && n.shown.Volume == volume {
		again := *n.shown
		if !more(&again) {
			return n.shown
		}
		return &again
	}
	shown := n.node
	if place.Pool != "" {
		shown.Pool, shown.Instance = place.Pool, place.Instance
	}
	shown.Load, shown.Freed, shown.Volume = n.load, n.freed, volume
	n.shown = &shown
	again := shown
	if more(&again) {
		return &again
	}
	return n.shown
}

// locate finds each node's machine, unless nothing has changed since the last
// time: neither what a node says of itself nor the lists of machines.
func (s *store) locate(pools []capacity.PoolState) {
	lists := make([][]capacity.Instance, len(pools))
	for i := range pools {
		lists[i] = pools[i].Instances
	}
	if s.places != nil && slices.EqualFunc(lists, s.found, sameList) {
		return
	}
	var identities []capacity.Identity
	s.vmids = nil
	for _, name := range s.names {
		if n := s.nodes[name]; n.object != nil {
			id := identity(n.object)
			identities = append(identities, id)
			s.vmids = append(s.vmids, capacity.VMIDs(id.SystemUUID)...)
		}
	}
	s.places, s.found = capacity.MapNodes(identities, pools), lists
}

// sameList reports whether the lists are one and the same: a list of machines
// is never changed, only replaced.
func sameList(a, b []capacity.Instance) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// pod returns the pod's object, nil if it has changed since the snapshot with
// so many changes: the next plan is to decide on it.
func (s *store) pod(uid types.UID, changes int) *corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stored := s.pods[uid]; stored != nil && stored.changed <= changes {
		return stored.object
	}
	return nil
}

// nodeObject is the same for a node.
func (s *store) nodeObject(name string, changes int) *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[name]; n != nil && n.object != nil && n.changed <= changes {
		return n.object
	}
	return nil
}

// exists reports whether the pod is still there.
func (s *store) exists(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[uid] != nil
}

// daemonClasses are the classes of the DaemonSets' pods, but for those that
// opted in: these are work like any other.
func (s *store) daemonClasses() []*fit.Class {
	if s.daemons != nil {
		return s.daemons
	}
	s.daemons = []*fit.Class{}
	for _, set := range s.sets {
		template := &set.Spec.Template
		request, _ := api.ParsePodRequest(template.Annotations)
		if set.DeletionTimestamp == nil && (request.OptIn == nil || !*request.OptIn) {
			pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
			pod.Namespace = set.Namespace // where its claims are
			s.daemons = append(s.daemons, s.compiler.Class(pod, ""))
		}
	}
	slices.SortFunc(s.daemons, func(a, b *fit.Class) int { return strings.Compare(a.ID, b.ID) })
	return s.daemons
}

// slowStart is how long after its newest pod a Job's controller is still
// expected to create more: it does so within seconds, unless a quota or a
// back-off keeps it from doing so for an unknown time.
const slowStart = time.Minute

// wave is what a Job's pods say of those that its controller has yet to create.
type wave struct {
	like    types.UID // a pod that they will be like, "" for none
	missing int
	newest  time.Time // when the last one was created
}

// expected returns the pods that Jobs have yet to create.
func (s *store) expected(now time.Time) []capacity.Expected {
	var expected []capacity.Expected
	for uid, job := range s.jobs {
		if job.object == nil {
			continue
		}
		if job.wave == nil {
			job.wave = s.waveOf(uid, job)
		}
		if w := job.wave; w.missing > 0 && w.like != "" && now.Sub(w.newest) < slowStart {
			expected = append(expected, capacity.Expected{Like: w.like, Count: w.missing})
		}
	}
	slices.SortFunc(expected, func(a, b capacity.Expected) int { return strings.Compare(string(a.Like), string(b.Like)) })
	return expected
}

// waveOf looks at the Job's pods, and tells those at the gate how many their
// gang needs.
func (s *store) waveOf(uid types.UID, job *storedJob) *wave {
	w := &wave{}
	want, unfinished, name := wantedPods(job.object, job.succeeded), 0, ""
	for _, stored := range job.pods {
		pod := stored.pod
		if pod == nil {
			continue
		}
		unfinished++
		if pod.Created.After(w.newest) {
			w.newest = pod.Created
		}
		if pod.Gated && !pod.OthersGate && (w.like == "" || pod.Key.Name < name) {
			w.like, name = pod.UID, pod.Key.Name
		}
		if pod.Gang == jobGang(uid) && pod.GangSize != want && pod.Node == "" {
			s.resize(stored, want)
		}
	}
	w.missing = want - unfinished
	return w
}
