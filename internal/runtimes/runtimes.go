// Package runtimes learns from pods that have succeeded how long others like them
// will run.
package runtimes

import (
	"encoding/binary"
	"hash/fnv"
	"io"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

const (
	// remembered is how many runs of one kind of pod count: enough that one odd
	// run decides nothing, few enough that a change of the work shows soon.
	remembered = 15
	// maxKinds bounds the memory; a cluster with more kinds of batch pods than that
	// starts anew.
	maxKinds = 10_000
)

// Learner knows how long pods have run. Pods are alike if they are of one
// namespace and run the same images with the same commands, as those of one Job
// or CronJob do. The zero value knows nothing; it is safe for concurrent use.
type Learner struct {
	mu   sync.Mutex
	runs map[uint64][]time.Duration // the latest last
}

// Observe learns from a pod, once for each. One that has not succeeded teaches
// nothing: it may have been cut short.
func (l *Learner) Observe(pod *corev1.Pod) {
	run := runTime(pod)
	if run <= 0 {
		return
	}
	kind := kindOf(pod)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs == nil || len(l.runs) >= maxKinds {
		l.runs = map[uint64][]time.Duration{}
	}
	runs := append(l.runs[kind], run)
	l.runs[kind] = runs[max(0, len(runs)-remembered):]
}

// Expect returns how long the pod should run from its start: as its annotation
// hints, else as others like it did, the median of them, else its deadline; 0 if
// nothing is known.
func (l *Learner) Expect(pod *corev1.Pod) time.Duration {
	request, _ := api.ParsePodRequest(pod.Annotations) // what is wrong was said at admission
	if request.ExpectedDuration > 0 {
		return request.ExpectedDuration
	}
	if learned := l.learned(pod); learned > 0 {
		return learned
	}
	return api.RunTime(pod)
}

func (l *Learner) learned(pod *corev1.Pod) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.runs) == 0 {
		return 0
	}
	runs := l.runs[kindOf(pod)]
	if len(runs) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(runs))[len(runs)/2]
}

// runTime is how long a pod that has succeeded ran, 0 for others.
func runTime(pod *corev1.Pod) time.Duration {
	if pod.Status.Phase != corev1.PodSucceeded || pod.Status.StartTime == nil {
		return 0
	}
	var end time.Time
	for _, c := range pod.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && t.FinishedAt.After(end) {
			end = t.FinishedAt.Time
		}
	}
	return end.Sub(pod.Status.StartTime.Time)
}

// kindOf is a fingerprint of what pods that are alike have in common.
func kindOf(pod *corev1.Pod) uint64 {
	h := fnv.New64a()
	add := func(texts ...string) {
		_ = binary.Write(h, binary.LittleEndian, int64(len(texts))) // a hash never fails to write
		for _, text := range texts {
			_ = binary.Write(h, binary.LittleEndian, int64(len(text)))
			_, _ = io.WriteString(h, text)
		}
	}
	add(pod.Namespace)
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		add(c.Image)
		add(c.Command...)
		add(c.Args...)
	}
	return h.Sum64()
}
