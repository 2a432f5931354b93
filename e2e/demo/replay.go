package demo

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/internal/trace"
)

// loadTrace reads the first pods of the trace, squeezed and clamped, and says
// what was clamped.
func loadTrace(file string, pods int, duration time.Duration) ([]arrival, []string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	all, err := trace.Read(f)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("%s has no batch pods: none of QoS class BE or Burstable with both times", file)
	}
	arrivals := squeeze(all[:min(pods, len(all))], duration)
	var clamped []string
	for i := range arrivals {
		a := &arrivals[i]
		if lowered := a.clamp(largest(a.requests)); lowered != nil {
			clamped = append(clamped, fmt.Sprintf("%s: %s", a.name, strings.Join(lowered, ", ")))
		}
	}
	return arrivals, clamped, nil
}

// largest is what the largest machine for such a pod has left beside its
// DaemonSet pod.
func largest(requests corev1.ResourceList) corev1.ResourceList {
	p := big
	if _, ok := requests[gpu]; ok {
		p = gpus
	}
	offered := p.offered()
	for name, daemon := range map[corev1.ResourceName]string{corev1.ResourceCPU: daemonCPU, corev1.ResourceMemory: daemonMemory} {
		left := offered[name]
		left.Sub(resource.MustParse(daemon))
		offered[name] = left
	}
	return offered
}

// playTrace creates the pods as they arrive. They are bare pods, because those
// of the trace belong to nothing that it names, and because a pod that is killed
// then stays lost: no Job's next attempt makes up for it.
func (d *demo) playTrace(ctx context.Context, arrivals []arrival) error {
	start := time.Now()
	for _, a := range arrivals {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(start.Add(a.after))):
		}
		annotations := map[string]string{api.GateKey: "true"}
		maps.Copy(annotations, runFor(a.run))
		if _, err := d.rig.Client.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: a.name, Annotations: annotations},
			Spec:       podSpec(corev1.RestartPolicyNever, a.requests),
		}, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create pod %s: %w", a.name, err)
		}
		d.submitted++
	}
	d.view.line(fmt.Sprintf("all %d pods of the trace have arrived", len(arrivals)))
	return nil
}
