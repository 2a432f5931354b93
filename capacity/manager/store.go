package manager

import (
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
	"github.com/tidegate-k3s/tidegate/internal/runtimes"
)

// store is the cluster in the planner's terms. It follows the caches' events,
// one object at a time, so that a plan costs what has changed and not what is
// there. Its objects are the caches' own: read only.
type store struct {
	now func() time.Time

	mu       sync.Mutex
	changes  int // so far, to tell what has changed since a snapshot
	compiler *fit.Compiler
	// runs is how long pods have run.
	runs runtimes.Learner
	// generation is the compiler's when all pods were last compiled.
	generation int
	pods       map[types.UID]*storedPod
	nodes      map[string]*storedNode // by name; also those that only have pods yet
	jobs       map[types.UID]*storedJob
	gangs      map[gangName]*storedGang
	sets       map[types.UID]*appsv1.DaemonSet
	objects    *objects
	// touched are what has changed that classes may have been compiled with, and the
	// nodes whose volumes may be others.
	touched touched
	// local is a volume for each tie of one that has data, nil when volumes have changed.
	local map[tie]*corev1.PersistentVolume
	// daemons are the classes of the DaemonSets' pods, nil when they have changed.
	daemons []*fit.Class
	// held are the places of pods whose release is under way or not seen yet.
	held map[types.UID]held
	// queue are the waiting pods in the order of demand, and names the nodes'.
	queue []*capacity.Pod
	names []string

	// places say which machine each node is, as found for these pools' machines;
	// nil when a node says something else of itself.
	places map[string]capacity.Place
	found  [][]capacity.Instance
	vmids  []string
}

type storedPod struct {
	object  *corev1.Pod
	changed int
	// pod is nil if it counts no more.
	pod  *capacity.Pod
	job  types.UID // its owner, "" for none
	gang gangName
}

type storedNode struct {
	object  *corev1.Node // nil for one that is not known yet
	changed int
	node    capacity.Node
	ties    []tie // of the volumes on its disk
	pods    map[types.UID]*capacity.Pod
	load    *capacity.Load // nil when its pods have changed
	freed   time.Time      // when work last ended on it
	shown   *capacity.Node // in the last snapshot
}

type storedJob struct {
	object    *batchv1.Job // nil for one that is not known yet
	pods      map[types.UID]*storedPod
	succeeded int
	wave      *wave // nil when the Job or its pods have changed
}

func newStore(now func() time.Time) *store {
	s := &store{
		now: now, compiler: fit.NewCompiler(), objects: &objects{}, touched: newTouched(), held: map[types.UID]held{},
		pods:  map[types.UID]*storedPod{},
		nodes: map[string]*storedNode{}, jobs: map[types.UID]*storedJob{}, gangs: map[gangName]*storedGang{}, sets: map[types.UID]*appsv1.DaemonSet{},
	}
	s.compiler.Objects = s.objects
	return s
}

// set takes over a new or changed object.
func (s *store) set(object any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	switch o := object.(type) {
	case *corev1.Pod:
		if before := s.pods[o.UID]; before == nil || !api.Finished(before.object) {
			s.runs.Observe(o)
		}
		s.removePod(o.UID, o)
		s.addPod(o)
		if !api.HasCapacityGate(o) {
			delete(s.held, o.UID)
		}
	case *corev1.Node:
		n := s.node(o.Name)
		if n.object == nil || identity(n.object) != identity(o) {
			s.places = nil
		}
		csi := n.node.CSI
		if n.object == nil {
			csi = s.objects.csi(o.Name)
		}
		n.object, n.node, n.changed, n.shown = o, node(o), s.changes, nil
		n.node.CSI, n.ties = csi, diskTies(o)
	case *batchv1.Job:
		job := s.job(o.UID)
		job.object, job.wave = o, nil
	case *appsv1.DaemonSet:
		s.sets[o.UID], s.daemons = o, nil
	default:
		s.put(object, false)
	}
}

// remove forgets an object.
func (s *store) remove(object any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	switch o := object.(type) {
	case *corev1.Pod:
		s.removePod(o.UID, nil)
		delete(s.held, o.UID)
	case *corev1.Node:
		if n := s.nodes[o.Name]; n != nil && n.object != nil && n.object.UID == o.UID {
			n.object, n.shown, n.freed, s.places = nil, nil, time.Time{}, nil
			s.forgetNode(o.Name)
		}
	case *batchv1.Job:
		if job := s.jobs[o.UID]; job != nil {
			job.object, job.wave = nil, nil
			s.forgetJob(o.UID)
		}
	case *appsv1.DaemonSet:
		delete(s.sets, o.UID)
		s.daemons = nil
	default:
		s.put(object, true)
	}
}

func (s *store) addPod(o *corev1.Pod) {
	stored := &storedPod{object: o, changed: s.changes, gang: gangOf(o)}
	s.pods[o.UID] = stored
	s.joinGang(stored)
	if api.OwnedByJob(o) {
		stored.job = metav1.GetControllerOf(o).UID
		job := s.job(stored.job)
		job.pods[o.UID], job.wave = stored, nil
		if o.Status.Phase == corev1.PodSucceeded {
			job.succeeded++
		}
	}
	if !counts(o) {
		return
	}
	stored.pod = convertPod(o, s.compiler, s.runs.Expect(o))
	if stored.pod.Node == "" {
		i, _ := slices.BinarySearchFunc(s.queue, stored.pod, capacity.ComparePods)
		s.queue = slices.Insert(s.queue, i, stored.pod)
		return
	}
	n := s.node(stored.pod.Node)
	n.pods[o.UID], n.load = stored.pod, nil
}

// counts reports whether the pod takes room or waits for it.
func counts(o *corev1.Pod) bool {
	return !api.Finished(o) && (o.DeletionTimestamp == nil || o.Spec.NodeName != "")
}

// removePod forgets the pod, in whose place next comes if it is not nil.
func (s *store) removePod(uid types.UID, next *corev1.Pod) {
	stored := s.pods[uid]
	if stored == nil {
		return
	}
	delete(s.pods, uid)
	s.leaveGang(stored, next == nil)
	if job := s.jobs[stored.job]; job != nil {
		delete(job.pods, uid)
		job.wave = nil
		if stored.object.Status.Phase == corev1.PodSucceeded {
			job.succeeded--
		}
		s.forgetJob(stored.job)
	}
	switch pod := stored.pod; {
	case pod == nil:
	case pod.Node == "":
		if i, found := slices.BinarySearchFunc(s.queue, pod, capacity.ComparePods); found {
			s.queue = slices.Delete(s.queue, i, i+1)
		}
	default:
		n := s.nodes[pod.Node]
		delete(n.pods, uid)
		n.load = nil
		if pod.Work.IsWork() && (next == nil || !counts(next)) {
			n.freed = s.now()
		}
		s.forgetNode(pod.Node)
	}
}

func (s *store) node(name string) *storedNode {
	n := s.nodes[name]
	if n == nil {
		n = &storedNode{pods: map[types.UID]*capacity.Pod{}}
		s.nodes[name] = n
		i, _ := slices.BinarySearch(s.names, name)
		s.names = slices.Insert(s.names, i, name)
	}
	return n
}

func (s *store) forgetNode(name string) {
	if n := s.nodes[name]; n.object == nil && len(n.pods) == 0 {
		delete(s.nodes, name)
		i, _ := slices.BinarySearch(s.names, name)
		s.names = slices.Delete(s.names, i, i+1)
	}
}

func (s *store) job(uid types.UID) *storedJob {
	job := s.jobs[uid]
	if job == nil {
		job = &storedJob{pods: map[types.UID]*storedPod{}}
		s.jobs[uid] = job
	}
	return job
}

func (s *store) forgetJob(uid types.UID) {
	if job := s.jobs[uid]; job.object == nil && len(job.pods) == 0 {
		delete(s.jobs, uid)
	}
}
