package throughput

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/tidegate-k3s/tidegate/api"
)

// clients is how many requests are under way at a time: enough to keep the API
// server busy.
const clients = 16

// nobody is the scheduler of pods that none is to take.
const nobody = "nobody"

// addNodes adds the nodes from one number to another.
func (b *bench) addNodes(ctx context.Context, from, to int) error {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("16"),
		corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	return each(ctx, from, to, func(ctx context.Context, i int) error {
		_, err := b.rig.Client.CoreV1().Nodes().Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{corev1.LabelHostname: nodeName(i), corev1.LabelOSStable: "linux"}},
			Status: corev1.NodeStatus{
				Capacity: resources, Allocatable: resources,
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}},
			},
		}, metav1.CreateOptions{})
		return err
	})
}

func nodeName(i int) string { return fmt.Sprintf("node-%04d", i) }

// pod is one of those that are created.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "work"}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "work", Image: "registry.example/work", Args: []string{"--input", "/data/in", "--output", "/data/out"},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("256Mi"),
				}},
			}},
		},
	}
}

// createPods creates so many pods. One that is refused is created again, as by a
// Job: the API server waits only so long for the webhook of pods that opt in.
func (b *bench) createPods(ctx context.Context, prefix string, count int, change func(i int, p *corev1.Pod)) error {
	return each(ctx, 0, count, func(ctx context.Context, i int) error {
		p := pod(fmt.Sprintf("%s-%05d", prefix, i))
		change(i, p)
		return retry.OnError(retry.DefaultBackoff, apierrors.IsInternalError, func() error {
			_, err := b.rig.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, p, metav1.CreateOptions{})
			return err
		})
	})
}

// clear removes all pods.
func (b *bench) clear(ctx context.Context) error {
	pods := b.rig.Client.CoreV1().Pods(metav1.NamespaceDefault)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the pods: %w", err)
	}
	return each(ctx, 0, len(list.Items), func(ctx context.Context, i int) error {
		return pods.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	})
}

// optIn lets the pod opt in.
func optIn(p *corev1.Pod) { p.Annotations = map[string]string{api.GateKey: "true"} }

// each calls do for each number, several at a time.
func each(ctx context.Context, from, to int, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for i := from; i < to && ctx.Err() == nil; i++ {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// wait lets a moment pass before something is looked at again.
func wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}
