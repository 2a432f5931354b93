package manager

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
)

// Trim is a transform for caches: it takes from pods and nodes what nobody here looks
// at, which is most of what they are in a large cluster. What a cache holds is therefore
// never to be written back whole.
func Trim(object any) (any, error) {
	if o, err := meta.Accessor(object); err == nil {
		o.SetManagedFields(nil)
		// It has all of the object once more.
		delete(o.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
	}
	switch o := object.(type) {
	case *corev1.Pod:
		trimContainers(o.Spec.InitContainers)
		trimContainers(o.Spec.Containers)
		o.Spec.EphemeralContainers = nil // they request nothing
		o.Spec.Volumes = without(o.Spec.Volumes, isAnywhere)
		o.Status.Conditions = without(o.Status.Conditions, isHealth)
		o.Status.EphemeralContainerStatuses = nil
		trimStatuses(o.Status.InitContainerStatuses)
		trimStatuses(o.Status.ContainerStatuses)
	case *corev1.Node:
		o.Status.Images = nil
	}
	return object, nil
}

// without returns the list without those, in no more room than it takes.
func without[T any](list []T, those func(T) bool) []T {
	return slices.Clone(slices.DeleteFunc(list, those))
}

// isHealth reports whether the condition says how a pod does that runs.
func isHealth(c corev1.PodCondition) bool {
	switch c.Type {
	case corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady:
		return true
	}
	return false
}

// isAnywhere reports whether any node can have the volume: kubelets make it themselves.
func isAnywhere(v corev1.Volume) bool {
	return v.EmptyDir != nil || v.Projected != nil || v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil
}

func trimContainers(containers []corev1.Container) {
	for i := range containers {
		c := &containers[i]
		c.Env, c.EnvFrom = nil, nil
		c.LivenessProbe, c.ReadinessProbe, c.StartupProbe, c.Lifecycle = nil, nil, nil, nil
		c.SecurityContext = nil
		// A kubelet may lack a feature that options of a mount need.
		c.VolumeMounts = without(c.VolumeMounts, func(m corev1.VolumeMount) bool { return len(m.BindMountOptions) == 0 })
		c.VolumeDevices = nil
	}
}

func trimStatuses(statuses []corev1.ContainerStatus) {
	for i := range statuses {
		s := &statuses[i]
		s.LastTerminationState = corev1.ContainerState{}
		s.Image, s.ImageID, s.ContainerID = "", "", ""
		s.VolumeMounts, s.User, s.AllocatedResourcesStatus = nil, nil, nil
	}
}
