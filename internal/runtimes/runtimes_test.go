package runtimes

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// pod runs the image with the arguments.
func pod(image string, args ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "work"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Image: image, Args: args}}},
	}
}

// ran is that pod after it ran for so long.
func ran(p *corev1.Pod, phase corev1.PodPhase, d time.Duration) *corev1.Pod {
	p.Status.Phase, p.Status.StartTime = phase, &metav1.Time{Time: noon}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(noon.Add(d))},
	}}}
	return p
}

func succeeded(d time.Duration) *corev1.Pod {
	return ran(pod("render", "scene-1"), corev1.PodSucceeded, d)
}

func TestExpect(t *testing.T) {
	elsewhere := ran(pod("render", "scene-1"), corev1.PodSucceeded, time.Hour)
	elsewhere.Namespace = "other"
	hinted := pod("render", "scene-1")
	hinted.Annotations = map[string]string{api.ExpectedDurationAnnotation: "7m"}
	deadline := pod("render", "scene-1")
	deadline.Spec.ActiveDeadlineSeconds = new(int64(3600))
	running := succeeded(time.Minute)
	running.Status.Phase = corev1.PodRunning
	for name, tc := range map[string]struct {
		seen []*corev1.Pod
		pod  *corev1.Pod
		want time.Duration
	}{
		"nothing is known":                  {pod: pod("render", "scene-1")},
		"as one like it did":                {seen: []*corev1.Pod{succeeded(time.Minute)}, pod: pod("render", "scene-1"), want: time.Minute},
		"the median of those like it":       {seen: []*corev1.Pod{succeeded(time.Minute), succeeded(time.Hour), succeeded(2 * time.Minute)}, pod: pod("render", "scene-1"), want: 2 * time.Minute},
		"other arguments are another thing": {seen: []*corev1.Pod{succeeded(time.Minute)}, pod: pod("render", "scene-2")},
		"and so is another namespace":       {seen: []*corev1.Pod{elsewhere}, pod: pod("render", "scene-1")},
		"one that failed was cut short":     {seen: []*corev1.Pod{ran(pod("render", "scene-1"), corev1.PodFailed, time.Minute)}, pod: pod("render", "scene-1")},
		"one that runs teaches nothing yet": {seen: []*corev1.Pod{running}, pod: pod("render", "scene-1")},
		"a hint comes first":                {seen: []*corev1.Pod{succeeded(time.Minute)}, pod: hinted, want: 7 * time.Minute},
		"a deadline last":                   {seen: []*corev1.Pod{succeeded(time.Minute)}, pod: deadline, want: time.Minute},
		"but before nothing":                {pod: deadline, want: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			var l Learner
			for _, p := range tc.seen {
				l.Observe(p)
			}
			if got := l.Expect(tc.pod); got != tc.want {
				t.Errorf("expected to run %s, want %s", got, tc.want)
			}
		})
	}
}

// What pods did lately counts, not what they once did.
func TestOldRunsAreForgotten(t *testing.T) {
	var l Learner
	for range 100 {
		l.Observe(succeeded(time.Hour))
	}
	for range remembered {
		l.Observe(succeeded(time.Minute))
	}
	if got := l.Expect(pod("render", "scene-1")); got != time.Minute {
		t.Errorf("expected to run %s, want a minute", got)
	}
}
