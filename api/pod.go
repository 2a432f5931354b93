package api

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PodRequest is what a pod's annotations ask of Tidegate.
type PodRequest struct {
	// OptIn is nil when the pod says nothing, so that the namespace decides.
	OptIn *bool
	// Pool restricts the pod to one pool; empty means any.
	Pool string
	// Gang and GangSize form an all-or-nothing group; Gang is empty for none.
	Gang     string
	GangSize int
	// AllOrNothing makes the pods of the owning Job one gang.
	AllOrNothing bool
	// ExpectedDuration is the hinted run time; 0 means no hint.
	ExpectedDuration time.Duration
	// MaxWait is the longest stay at the gate; 0 means no limit.
	MaxWait time.Duration
}

// ParsePodRequest reads the annotations of a pod (or of a pod template). A bad
// value is reported and otherwise treated as not said: the request is usable
// even when err is not nil. The error joins one sentence for each bad value.
func ParsePodRequest(annotations map[string]string) (PodRequest, error) {
	var r PodRequest
	var errs []error
	if v, ok := annotations[GateKey]; ok {
		on, err := parseBool(GateKey, v)
		if err != nil {
			errs = append(errs, err)
		} else {
			r.OptIn = &on
		}
	}
	r.Pool = annotations[PoolAnnotation]
	if v, ok := annotations[AllOrNothingAnnotation]; ok {
		on, err := parseBool(AllOrNothingAnnotation, v)
		errs = append(errs, err)
		r.AllOrNothing = on
	}
	gang, size, err := parseGang(annotations)
	errs = append(errs, err)
	r.Gang, r.GangSize = gang, size
	r.ExpectedDuration, err = parsePositiveDuration(ExpectedDurationAnnotation, annotations)
	errs = append(errs, err)
	r.MaxWait, err = parsePositiveDuration(MaxWaitAnnotation, annotations)
	errs = append(errs, err)
	return r, errors.Join(errs...)
}

// ForeignGroup returns the group that the pod belongs to by the rules of Kueue or
// of kube-scheduler's own pod groups, "" for none, and how many pods it has, 0
// if the pod does not say. Releasing it in parts would leave the released pods
// waiting in the scheduler for the others.
func ForeignGroup(p *corev1.Pod) (name string, size int) {
	if group := p.Spec.SchedulingGroup; group != nil && group.PodGroupName != nil {
		return "podgroup/" + *group.PodGroupName, 0
	}
	if group := p.Labels[kueueGroupLabel]; group != "" {
		size, err := strconv.Atoi(p.Annotations[kueueGroupSizeAnnotation])
		if err != nil || size < 1 || size > maxGangSize {
			size = 0
		}
		return "kueue/" + group, size
	}
	return "", 0
}

// maxGangSize bounds a gang to what one cluster can hold by Kubernetes' own
// limit of 150,000 pods.
const maxGangSize = 150_000

func parseGang(annotations map[string]string) (string, int, error) {
	name, hasName := annotations[GangAnnotation]
	value, hasSize := annotations[GangSizeAnnotation]
	switch {
	case !hasName && !hasSize:
		return "", 0, nil
	case !hasName || name == "":
		return "", 0, fmt.Errorf("annotation %s is set without %s: name the gang, the pod is treated as a single pod", GangSizeAnnotation, GangAnnotation)
	case !hasSize:
		return "", 0, fmt.Errorf("annotation %s is set without %s: say how many pods the gang has, the pod is treated as a single pod", GangAnnotation, GangSizeAnnotation)
	}
	size, err := strconv.Atoi(value)
	if err != nil || size < 1 || size > maxGangSize {
		return "", 0, fmt.Errorf("annotation %s=%q: want an integer from 1 to %d, the pod is treated as a single pod", GangSizeAnnotation, value, maxGangSize)
	}
	return name, size, nil
}

func parseBool(key, value string) (bool, error) {
	switch value {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("annotation %s=%q: want \"true\" or \"false\", the value is ignored", key, value)
}

func parsePositiveDuration(key string, values map[string]string) (time.Duration, error) {
	v, ok := values[key]
	if !ok {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("annotation %s=%q: want a positive duration such as \"90s\" or \"2h30m\", the value is ignored", key, v)
	}
	return d, nil
}

// HasCapacityGate reports whether Tidegate's gate holds the pod.
func HasCapacityGate(pod *corev1.Pod) bool {
	for _, g := range pod.Spec.SchedulingGates {
		if g.Name == CapacityGate {
			return true
		}
	}
	return false
}

// OnlyCapacityGate reports whether Tidegate's gate is the pod's only one: the
// others' gates mean that the pod is not demand yet.
func OnlyCapacityGate(pod *corev1.Pod) bool {
	return len(pod.Spec.SchedulingGates) == 1 && HasCapacityGate(pod)
}

// OwnedByJob reports whether a Job controls the pod: it is batch work and will
// end by itself.
func OwnedByJob(pod *corev1.Pod) bool { return controlledBy(pod, "batch", "Job") }

// OwnedByDaemonSet reports whether a DaemonSet controls the pod: it belongs to
// its node and does not keep it.
func OwnedByDaemonSet(pod *corev1.Pod) bool { return controlledBy(pod, "apps", "DaemonSet") }

func controlledBy(pod *corev1.Pod, group, kind string) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.Kind != kind {
		return false
	}
	ownerGroup, _, _ := strings.Cut(owner.APIVersion, "/")
	return ownerGroup == group
}

// IsMirror reports whether the pod only shows a static pod that the kubelet
// runs by itself.
func IsMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// Finished reports whether all containers of the pod have ended for good.
func Finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Uncountable names a resource of which the pod says an amount beyond 64 bits.
// Such a quantity is legal, but to add or compare "1e999999999" takes all its
// digits and practically never ends.
func Uncountable(spec *corev1.PodSpec) (corev1.ResourceName, bool) {
	if name, ok := uncountable(spec.Overhead); ok {
		return name, true
	}
	if spec.Resources != nil {
		if name, ok := uncountableIn(spec.Resources); ok {
			return name, true
		}
	}
	for _, containers := range [...][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			if name, ok := uncountableIn(&containers[i].Resources); ok {
				return name, true
			}
		}
	}
	return "", false
}

func uncountableIn(r *corev1.ResourceRequirements) (corev1.ResourceName, bool) {
	if name, ok := uncountable(r.Requests); ok {
		return name, true
	}
	return uncountable(r.Limits)
}

func uncountable(list corev1.ResourceList) (corev1.ResourceName, bool) {
	for name, q := range list {
		if math.Abs(q.AsApproximateFloat64()) > math.MaxInt64 {
			return name, true
		}
	}
	return "", false
}

// EndsByItself reports whether the pod is batch work: a Job's, or one whose
// spec or hint says that it is not meant to run for ever.
func EndsByItself(pod *corev1.Pod) bool {
	return OwnedByJob(pod) ||
		pod.Spec.RestartPolicy == corev1.RestartPolicyNever ||
		pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure ||
		RunTime(pod) > 0
}

// RunTime is how long the pod should run from its start: as its annotation
// hints, else its deadline; 0 if neither is said. What is wrong with the
// annotations has been said at admission.
func RunTime(pod *corev1.Pod) time.Duration {
	request, _ := ParsePodRequest(pod.Annotations)
	if deadline := pod.Spec.ActiveDeadlineSeconds; request.ExpectedDuration == 0 && deadline != nil {
		return time.Duration(*deadline) * time.Second
	}
	return request.ExpectedDuration
}
