package fit

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// sum is what Kubernetes' own helper says that the pod takes.
func sum(pod *corev1.Pod, options resourcehelper.PodResourcesOptions) Resources {
	r := ResourcesOf(resourcehelper.PodRequests(pod, options))
	r.Pods = 1
	return r
}

// pick returns one of several things.
func pick[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

// someList has some resources in amounts that are not all whole, or is nil.
func someList(random *rand.Rand) corev1.ResourceList {
	if random.IntN(4) == 0 {
		return nil
	}
	list := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{
		corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourcePods, "hugepages-2Mi", gpu, "unknown",
	} {
		if random.IntN(2) == 0 {
			list[name] = resource.MustParse(pick(random, "0", "-3", "1", "2", "7", "100u", "1500u", "250m", "1500m", "1Gi", "0.5", "1e3"))
		}
	}
	return list
}

// somePod is one whose requests and status take all forms that count.
func somePod(random *rand.Rand) *corev1.Pod {
	pod := &corev1.Pod{}
	rarely := func() bool { return random.IntN(6) == 0 }
	containers := func(prefix string, n int) (all []corev1.Container) {
		for i := range n {
			c := corev1.Container{Name: prefix + string(rune('a'+i)), Resources: corev1.ResourceRequirements{Requests: someList(random)}}
			all = append(all, c)
			if random.IntN(2) == 0 {
				continue
			}
			status := corev1.ContainerStatus{Name: c.Name, AllocatedResources: someList(random)}
			if random.IntN(2) == 0 {
				status.Resources = &corev1.ResourceRequirements{Requests: someList(random)}
			}
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
		}
		return all
	}
	pod.Spec.Containers = containers("c", pick(random, 1, 1, 1, 2))
	if rarely() {
		pod.Spec.InitContainers = containers("i", 1)
	}
	if rarely() {
		pod.Spec.Overhead = someList(random)
	}
	if rarely() {
		pod.Spec.Resources = &corev1.ResourceRequirements{Requests: someList(random)}
	}
	if rarely() {
		pod.Status.AllocatedResources = someList(random)
	}
	if rarely() {
		pod.Status.Resources = &corev1.ResourceRequirements{Requests: someList(random)}
	}
	if rarely() {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Reason: pick(random, corev1.PodReasonInfeasible, corev1.PodReasonDeferred)}}
	}
	return pod
}

func TestRequestsAreWhatKubernetesAddsUp(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		pod := somePod(random)
		if diff := cmp.Diff(sum(pod, resourcehelper.PodResourcesOptions{}), PodRequests(&pod.Spec)); diff != "" {
			t.Fatalf("a pod that is to be placed (-want +got):\n%s%+v", diff, pod)
		}
		bound := resourcehelper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
		if diff := cmp.Diff(sum(pod, bound), BoundRequests(pod)); diff != "" {
			t.Fatalf("a pod that stands (-want +got):\n%s%+v", diff, pod)
		}
	}
}
