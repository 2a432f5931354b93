package manager

import (
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// TestWhatIsLeftOfAGangFollows: one pod of three is still at the gate.
func TestWhatIsLeftOfAGangFollows(t *testing.T) {
	member := func(n int, change func(*corev1.Pod)) *corev1.Pod {
		p := gatedPod(func(p *corev1.Pod) {
			p.Name, p.UID, p.OwnerReferences = fmt.Sprint("g", n), types.UID(fmt.Sprint("uid-g", n)), nil
			p.Annotations[api.GangAnnotation], p.Annotations[api.GangSizeAnnotation] = "g", "3"
		})
		change(&p)
		return &p
	}
	released := func(at time.Time, phase corev1.PodPhase) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.SchedulingGates, p.Spec.NodeName, p.Status.Phase = nil, "n1", phase
			p.Status.Conditions = []corev1.PodCondition{{Type: api.CapacityCondition, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at)}}
		}
	}
	nominated := func(p *corev1.Pod) { // and not let through the gate yet
		p.Status.Conditions = []corev1.PodCondition{{Type: api.CapacityCondition, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(created)}}
	}
	later := created.Add(time.Minute)
	for name, tc := range map[string]struct {
		others []func(*corev1.Pod)
		want   int // what the pod's gang still needs
	}{
		"the others have finished":               {others: []func(*corev1.Pod){released(later, corev1.PodSucceeded), released(later, corev1.PodFailed)}},
		"one runs, the other is gone":            {others: []func(*corev1.Pod){released(later, corev1.PodRunning)}},
		"released in the second of its creation": {others: []func(*corev1.Pod){released(created, corev1.PodSucceeded)}},
		"none was released":                      {others: []func(*corev1.Pod){nominated, nominated}, want: 3},
		"an earlier gang of the name":            {others: []func(*corev1.Pod){released(created.Add(-time.Second), corev1.PodSucceeded)}, want: 3},
	} {
		t.Run(name, func(t *testing.T) {
			for _, order := range []string{"it comes first", "it comes last"} {
				s := newStore(time.Now)
				var snapshot capacity.Snapshot
				if order == "it comes first" {
					s.set(member(0, func(*corev1.Pod) {}))
					s.fill(&snapshot, nobody)
				}
				for i, change := range tc.others {
					s.set(member(i+1, change))
				}
				if order == "it comes last" {
					s.set(member(0, func(*corev1.Pod) {}))
				}
				s.fill(&snapshot, nobody)
				if got := snapshot.Waiting[0].GangSize; got != tc.want {
					t.Errorf("%s: its gang needs %d pods, want %d", order, got, tc.want)
				}
			}
		})
	}
}

// TestAGangIsRememberedWithoutItsFirstPods: pods that have finished go when
// their node does.
func TestAGangIsRememberedWithoutItsFirstPods(t *testing.T) {
	member := func(uid string, gated bool) *corev1.Pod {
		p := gatedPod(func(p *corev1.Pod) {
			p.Name, p.UID, p.OwnerReferences = uid, types.UID(uid), nil
			p.Annotations[api.GangAnnotation], p.Annotations[api.GangSizeAnnotation] = "g", "2"
			if !gated {
				p.Spec.SchedulingGates, p.Spec.NodeName, p.Status.Phase = nil, "n1", corev1.PodSucceeded
				p.Status.Conditions = []corev1.PodCondition{{Type: api.CapacityCondition, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(created)}}
			}
		})
		return &p
	}
	s := newStore(time.Now)
	s.set(member("first", false))
	s.set(member("second", true))
	s.remove(member("first", false))
	s.set(member("second", true))
	var snapshot capacity.Snapshot
	s.fill(&snapshot, nobody)
	if got := snapshot.Waiting[0].GangSize; got != 0 {
		t.Errorf("the gang needs %d pods, want that it goes on without those that have been", got)
	}
}

// TestTheGangOfAJobThatIsNotKnownWaits: its pods may be seen before it is.
func TestTheGangOfAJobThatIsNotKnownWaits(t *testing.T) {
	s := newStore(time.Now)
	p := gatedPod(func(p *corev1.Pod) { p.Annotations[api.AllOrNothingAnnotation] = "true" })
	s.set(&p)
	size := func() int {
		var snapshot capacity.Snapshot
		s.fill(&snapshot, nobody)
		return snapshot.Waiting[0].GangSize
	}
	if got := size(); got != capacity.GangSizeUnknown {
		t.Errorf("the gang needs %d pods, want that nobody knows", got)
	}
	s.set(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "uid-job"}, Spec: batchv1.JobSpec{Parallelism: new(int32(6)), Completions: new(int32(6))}})
	if got := size(); got != 6 {
		t.Errorf("the gang needs %d pods, want the Job's 6", got)
	}
}

func TestGangsThatAreGoneAreForgotten(t *testing.T) {
	s := newStore(time.Now)
	p := gatedPod(func(p *corev1.Pod) {
		p.Annotations[api.GangAnnotation], p.Annotations[api.GangSizeAnnotation] = "g", "3"
	})
	s.set(&p)
	s.set(&p)
	s.remove(&p)
	if len(s.gangs) != 0 {
		t.Errorf("%d gangs are remembered of no pod", len(s.gangs))
	}
}
