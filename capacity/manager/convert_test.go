package manager

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

var created = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// gatedPod is a Job's pod that waits at the gate and asks for 2 CPUs.
func gatedPod(change func(*corev1.Pod)) corev1.Pod {
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "work", Name: "frame", UID: "uid", ResourceVersion: "1",
			CreationTimestamp: metav1.NewTime(created),
			Annotations:       map[string]string{api.GateKey: "true"},
			OwnerReferences:   []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "j", UID: "uid-job", Controller: new(true)}},
		},
		Spec: corev1.PodSpec{
			SchedulingGates: []corev1.PodSchedulingGate{{Name: api.CapacityGate}},
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
			}}},
		},
	}
	if change != nil {
		change(&pod)
	}
	return pod
}

func TestPodsInThePlannersTerms(t *testing.T) {
	base := func(change func(*capacity.Pod)) []*capacity.Pod {
		p := capacity.Pod{
			Key: types.NamespacedName{Namespace: "work", Name: "frame"}, UID: "uid",
			Work: capacity.Batch, Gated: true, Created: created, Owned: true, Grace: 30 * time.Second,
		}
		if change != nil {
			change(&p)
		}
		return []*capacity.Pod{&p}
	}
	for name, tc := range map[string]struct {
		in   corev1.Pod
		want []*capacity.Pod
	}{
		"at the gate": {in: gatedPod(nil), want: base(nil)},
		"with others' gates": {
			in: gatedPod(func(p *corev1.Pod) {
				p.Spec.SchedulingGates = append(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: "kueue.x-k8s.io/topology"})
			}),
			want: base(func(p *capacity.Pod) { p.OthersGate = true }),
		},
		"released": {
			in: gatedPod(func(p *corev1.Pod) {
				p.Spec.SchedulingGates = nil
				p.Status.NominatedNodeName = "n1"
				setCondition(p, api.CapacityCondition, corev1.ConditionTrue, "Released", "", created)
			}),
			want: base(func(p *capacity.Pod) { p.Gated, p.Released, p.Nominated = false, true, "n1" }),
		},
		"nominated, but the gate is still on": {
			in: gatedPod(func(p *corev1.Pod) {
				p.Status.NominatedNodeName = "n1"
				setCondition(p, api.CapacityCondition, corev1.ConditionTrue, "Released", "", created)
			}),
			want: base(func(p *capacity.Pod) { p.Nominated = "n1" }),
		},
		"bound, with a hint how long it runs": {
			in: gatedPod(func(p *corev1.Pod) {
				p.Spec.SchedulingGates, p.Spec.NodeName = nil, "n1"
				p.Annotations[api.ExpectedDurationAnnotation] = "90m"
				start := metav1.NewTime(created.Add(time.Minute))
				p.Status.StartTime = &start
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: start}}
			}),
			want: base(func(p *capacity.Pod) {
				p.Gated, p.Node = false, "n1"
				p.Bound, p.Ends = created.Add(time.Minute), created.Add(91*time.Minute)
			}),
		},
		"of a gang": {
			in: gatedPod(func(p *corev1.Pod) {
				p.Annotations[api.GangAnnotation], p.Annotations[api.GangSizeAnnotation] = "g", "4"
			}),
			want: base(func(p *capacity.Pod) { p.Gang, p.GangSize = "named/g", 4 }),
		},
		"all or nothing": {
			in:   gatedPod(func(p *corev1.Pod) { p.Annotations[api.AllOrNothingAnnotation] = "true" }),
			want: base(func(p *capacity.Pod) { p.Gang, p.GangSize = "job/uid-job", capacity.GangSizeUnknown }),
		},
		"never gated and without a place": {
			in: gatedPod(func(p *corev1.Pod) {
				p.OwnerReferences, p.Annotations, p.Spec.SchedulingGates = nil, nil, nil
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}
			}),
			want: base(func(p *capacity.Pod) {
				p.Work, p.Gated, p.Unschedulable, p.Owned = capacity.LongLived, false, true, false
			}),
		},
		"with a grace period of its own": {
			in:   gatedPod(func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(600)) }),
			want: base(func(p *capacity.Pod) { p.Grace = 10 * time.Minute }),
		},
		"in a pod group of the scheduler's": {
			in:   gatedPod(func(p *corev1.Pod) { p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: new("g")} }),
			want: base(func(p *capacity.Pod) { p.Gang = "podgroup/g" }),
		},
		"in a pod group of Kueue's": {
			in: gatedPod(func(p *corev1.Pod) {
				p.Labels = map[string]string{"kueue.x-k8s.io/pod-group-name": "g"}
				p.Annotations["kueue.x-k8s.io/pod-group-total-count"] = "3"
			}),
			want: base(func(p *capacity.Pod) { p.Gang, p.GangSize = "kueue/g", 3 }),
		},
		"finished": {in: gatedPod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), want: nil},
		"deleted at the gate": {
			in:   gatedPod(func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }),
			want: nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := stored(tc.in)
			for i := range got {
				if got[i].Class.Requests.MilliCPU != 2000 {
					t.Errorf("requests %+v, want 2 CPUs", got[i].Class.Requests)
				}
				got[i].Class = nil
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("pods (-want +got):\n%s", diff)
			}
		})
	}
}

// stored are the pods as the planner is shown them.
func stored(pods ...corev1.Pod) []*capacity.Pod {
	s := newStore(time.Now)
	var out []*capacity.Pod
	for i := range pods {
		s.set(&pods[i])
		if pod := s.pods[pods[i].UID].pod; pod != nil {
			out = append(out, pod)
		}
	}
	return out
}

// nobody knows anything of any node's retirement.
func nobody(*capacity.Node) bool { return false }

// TestEqualPodsShareOneClass: the planner judges a class once, so pods that
// differ only in what the scheduler does not look at must share it.
func TestEqualPodsShareOneClass(t *testing.T) {
	second := func(change func(*corev1.Pod)) corev1.Pod {
		return gatedPod(func(p *corev1.Pod) {
			p.Name, p.UID = "second", "uid-2"
			change(p)
		})
	}
	for name, tc := range map[string]struct {
		second corev1.Pod
		same   bool
	}{
		"another image and label": {second: second(func(p *corev1.Pod) { p.Spec.Containers[0].Image, p.Labels = "x", map[string]string{"a": "b"} }), same: true},
		"another selector":        {second: second(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"a": "b"} })},
		"another pool":            {second: second(func(p *corev1.Pod) { p.Annotations[api.PoolAnnotation] = "big" })},
		"another toleration":      {second: second(func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} })},
	} {
		t.Run(name, func(t *testing.T) {
			pods := stored(gatedPod(nil), tc.second)
			if same := pods[0].Class == pods[1].Class; same != tc.same {
				t.Errorf("share a class: %t, want %t", same, tc.same)
			}
		})
	}
}

// TestLabelsCountOnceASelectorLooksAtThem: pods that were there before the
// selector are told apart by their labels from then on, waiting or not.
func TestLabelsCountOnceASelectorLooksAtThem(t *testing.T) {
	labelled := func(name, app, node string) *corev1.Pod {
		p := gatedPod(func(p *corev1.Pod) {
			p.Name, p.UID, p.Labels = name, types.UID(name), map[string]string{"app": app}
			p.Spec.NodeName = node
		})
		return &p
	}
	s := newStore(time.Now)
	for _, o := range []any{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, labelled("w1", "web", ""), labelled("w2", "db", ""), labelled("b1", "web", "n"), labelled("b2", "db", "n")} {
		s.set(o)
	}
	classes := func() (waiting, bound int) {
		var snapshot capacity.Snapshot
		s.fill(&snapshot, nobody)
		different := map[*fit.Class]bool{}
		for _, p := range snapshot.Waiting[:2] {
			different[p.Class] = true
		}
		return len(different), len(snapshot.Nodes[0].Load.Counts)
	}
	if waiting, bound := classes(); waiting != 1 || bound != 1 {
		t.Fatalf("%d classes wait and %d stand, want one of each: nobody looks at the labels", waiting, bound)
	}
	selecting := labelled("w3", "web", "")
	selecting.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
	}}
	s.set(selecting)
	if waiting, bound := classes(); waiting != 2 || bound != 2 {
		t.Errorf("%d classes wait and %d stand, want two of each", waiting, bound)
	}
}

// TestClassesOfPodsThatAreGoneAreForgotten: a cluster that runs for a year sees
// more of them than it has memory for.
func TestClassesOfPodsThatAreGoneAreForgotten(t *testing.T) {
	s := newStore(time.Now)
	stays := gatedPod(func(p *corev1.Pod) { p.Name, p.UID = "stays", "uid-stays" })
	s.set(&stays)
	class := s.queue[0].Class
	for i := range 3000 {
		passes := gatedPod(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"run": strconv.Itoa(i)} })
		s.set(&passes)
		s.fill(&capacity.Snapshot{}, nobody)
	}
	if n := s.compiler.Len(); n > 1100 {
		t.Errorf("%d classes are remembered of 2 pods", n)
	}
	equal := gatedPod(func(p *corev1.Pod) { p.Name, p.UID = "equal", "uid-equal" })
	s.set(&equal)
	if got := s.pods["uid-equal"].pod.Class; got != class {
		t.Error("a pod that is equal to the one that stays does not share its class")
	}
}

// TestJobs is about the pods that a Job's controller has yet to create.
func TestJobs(t *testing.T) {
	job := func(parallelism, completions int32, change func(*batchv1.Job)) batchv1.Job {
		j := batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "uid-job"}, Spec: batchv1.JobSpec{Parallelism: &parallelism, Completions: &completions}}
		if change != nil {
			change(&j)
		}
		return j
	}
	condition := func(kind batchv1.JobConditionType) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue}}
		}
	}
	for name, tc := range map[string]struct {
		job       batchv1.Job
		gated     int  // pods of the Job at the gate
		running   int  // and bound
		succeeded int  // and still there, succeeded
		stuck     bool // its newest pod is old
		want      int  // pods expected beside them
	}{
		"the first of forty":                         {job: job(40, 40, nil), gated: 1, want: 39},
		"no more than its parallelism":               {job: job(8, 40, nil), gated: 3, want: 5},
		"no more than what is left":                  {job: job(8, 40, func(j *batchv1.Job) { j.Status.Succeeded = 37 }), gated: 1, want: 2},
		"its status is behind":                       {job: job(40, 40, nil), gated: 1, running: 35, succeeded: 4, want: 0},
		"all are there":                              {job: job(4, 4, nil), gated: 2, running: 2, want: 0},
		"none waits at the gate":                     {job: job(4, 4, nil), running: 2, want: 0},
		"a quota keeps it from creating more":        {job: job(40, 40, nil), gated: 1, stuck: true, want: 0},
		"suspended":                                  {job: job(4, 4, func(j *batchv1.Job) { j.Spec.Suspend = new(true) }), gated: 1, want: 0},
		"failed":                                     {job: job(4, 4, condition(batchv1.JobFailed)), gated: 1, want: 0},
		"about to fail":                              {job: job(4, 4, condition(batchv1.JobFailureTarget)), gated: 1, want: 0},
		"being deleted":                              {job: job(4, 4, func(j *batchv1.Job) { now := metav1.Now(); j.DeletionTimestamp = &now }), gated: 1, want: 0},
		"a work queue":                               {job: job(4, 4, func(j *batchv1.Job) { j.Spec.Completions = nil }), gated: 1, want: 3},
		"a work queue that has begun to end":         {job: job(4, 4, func(j *batchv1.Job) { j.Spec.Completions = nil }), gated: 1, succeeded: 1, want: 0},
		"retries: one failed, and will be made anew": {job: job(4, 4, func(j *batchv1.Job) { j.Status.Failed = 1 }), gated: 1, running: 2, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(time.Now)
			s.set(&tc.job)
			for i := range tc.gated + tc.running + tc.succeeded {
				p := gatedPod(func(p *corev1.Pod) {
					p.Name, p.UID = fmt.Sprintf("p%02d", i), types.UID(fmt.Sprint("uid-", i))
					p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", UID: "uid-job", Controller: new(true)}}
					if i >= tc.gated {
						p.Spec.SchedulingGates, p.Spec.NodeName = nil, "n1"
					}
					if i >= tc.gated+tc.running {
						p.Status.Phase = corev1.PodSucceeded
					}
				})
				s.set(&p)
			}
			snapshot := capacity.Snapshot{Now: created.Add(time.Second)}
			if tc.stuck {
				snapshot.Now = created.Add(time.Hour)
			}
			s.fill(&snapshot, nobody)
			got := 0
			for _, e := range snapshot.Expected {
				got += e.Count
			}
			if got != tc.want {
				t.Errorf("%d more pods expected, want %d", got, tc.want)
			}
		})
	}
}
