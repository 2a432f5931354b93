package demo

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/internal/trace"
)

// The run times of a replay: shorter ones would measure the cluster, longer
// ones the reader's patience.
const (
	shortestRun = 2 * time.Second
	longestRun  = 90 * time.Second
)

// arrival is a pod of the replay.
type arrival struct {
	name     string
	after    time.Duration // since the replay's start
	run      time.Duration
	requests corev1.ResourceList
}

// squeeze lets the pods arrive within the duration, at the rhythm of the trace,
// and shortens what they run by the same factor.
func squeeze(pods []trace.Pod, duration time.Duration) []arrival {
	if len(pods) == 0 {
		return nil
	}
	first := pods[0].Created
	span := max(1, pods[len(pods)-1].Created-first)
	scale := func(seconds int64) time.Duration {
		return time.Duration(float64(seconds) / float64(span) * float64(duration))
	}
	arrivals := make([]arrival, len(pods))
	for i, p := range pods {
		run := min(max(scale(p.Deleted-p.Scheduled), shortestRun), longestRun)
		arrivals[i] = arrival{name: p.Name, after: scale(p.Created - first), run: run.Round(time.Second), requests: p.Requests}
	}
	return arrivals
}

// clamp lowers the pod's requests to what the largest machine offers, and says
// what it lowered, in words.
func (a *arrival) clamp(offered corev1.ResourceList) []string {
	var lowered []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, gpu} {
		asked, ok := a.requests[name]
		most := offered[name]
		if !ok || asked.Cmp(most) <= 0 {
			continue
		}
		a.requests[name] = most
		lowered = append(lowered, fmt.Sprintf("%s %s to %s", name, asked.String(), most.String()))
	}
	return lowered
}
