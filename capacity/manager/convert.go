package manager

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// convertPod turns a pod into the planner's terms. It should run for runTime from
// its start, 0 if nobody knows.
func convertPod(p *corev1.Pod, compiler *fit.Compiler, runTime time.Duration) *capacity.Pod {
	request, _ := api.ParsePodRequest(p.Annotations)
	condition := podCondition(&p.Status, api.CapacityCondition)
	gated := api.HasCapacityGate(p)
	pod := &capacity.Pod{
		Key:         types.NamespacedName{Namespace: p.Namespace, Name: p.Name},
		UID:         p.UID,
		Work:        workOf(p, request),
		Node:        p.Spec.NodeName,
		Gated:       gated,
		OthersGate:  len(p.Spec.SchedulingGates) > 0 && !api.OnlyCapacityGate(p),
		Released:    !gated && condition != nil && condition.Status == corev1.ConditionTrue,
		Nominated:   p.Status.NominatedNodeName,
		Priority:    corev1helpers.PodPriority(p),
		Created:     p.CreationTimestamp.Time,
		Terminating: p.DeletionTimestamp != nil,
		Owned:       metav1.GetControllerOf(p) != nil,
		Grace:       gracePeriod(p),
		Gang:        request.Gang,
		GangSize:    request.GangSize,
		MaxWait:     request.MaxWait,
	}
	if scheduled := podCondition(&p.Status, corev1.PodScheduled); scheduled != nil {
		switch scheduled.Status {
		case corev1.ConditionTrue:
			pod.Bound = scheduled.LastTransitionTime.Time
		case corev1.ConditionFalse:
			pod.Unschedulable = scheduled.Reason == corev1.PodReasonUnschedulable
		}
	}
	pod.Class = classOf(p, compiler)
	if group, size := api.ForeignGroup(p); group != "" {
		pod.Gang, pod.GangSize = group, size
	} else if request.Gang != "" {
		pod.Gang = namedGang(request.Gang)
		if gangStarted(p) {
			pod.GangSize = 0
		}
	} else if owner := metav1.GetControllerOf(p); request.AllOrNothing && owner != nil && api.OwnedByJob(p) {
		// The store knows the size once it knows the Job; watches of different
		// kinds are not in step.
		pod.Gang, pod.GangSize = jobGang(owner.UID), capacity.GangSizeUnknown
	}
	if runTime > 0 && p.Status.StartTime != nil {
		pod.Ends = p.Status.StartTime.Add(runTime)
	}
	return pod
}

// classOf is what the scheduler looks at in the pod.
func classOf(p *corev1.Pod, compiler *fit.Compiler) *fit.Class {
	if p.Spec.NodeName != "" {
		return compiler.Bound(p)
	}
	request, _ := api.ParsePodRequest(p.Annotations)
	return compiler.Class(p, request.Pool)
}

// gracePeriod is how long the pod may take to end when it is asked to.
func gracePeriod(p *corev1.Pod) time.Duration {
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if p.Spec.TerminationGracePeriodSeconds != nil {
		seconds = *p.Spec.TerminationGracePeriodSeconds
	}
	return time.Duration(seconds) * time.Second
}

// jobGang is the gang of a Job's pods.
func jobGang(job types.UID) string { return "job/" + string(job) }

// workOf says what the pod is to its node.
func workOf(p *corev1.Pod, request api.PodRequest) capacity.Work {
	optedIn := request.OptIn != nil && *request.OptIn
	switch {
	case api.IsMirror(p):
		return capacity.Mirror
	case optedIn:
		return capacity.Batch
	case api.OwnedByDaemonSet(p):
		return capacity.Daemon
	case api.EndsByItself(p):
		return capacity.Batch
	}
	return capacity.LongLived
}

// wantedPods is how many pods the Job's controller wants to have at this time.
func wantedPods(job *batchv1.Job, succeeded int) int {
	if job.DeletionTimestamp != nil || job.Spec.Suspend != nil && *job.Spec.Suspend {
		return 0
	}
	for _, c := range job.Status.Conditions {
		switch c.Type {
		case batchv1.JobComplete, batchv1.JobFailed, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet:
			if c.Status == corev1.ConditionTrue {
				return 0
			}
		}
	}
	parallelism := 1
	if job.Spec.Parallelism != nil {
		parallelism = int(*job.Spec.Parallelism)
	}
	done := max(succeeded, int(job.Status.Succeeded))
	if job.Spec.Completions == nil {
		// A work queue: once one pod succeeds no further ones are created.
		if done > 0 {
			return 0
		}
		return parallelism
	}
	return max(0, min(parallelism, int(*job.Spec.Completions)-done))
}

// node converts a node; its machine is added by the mapping.
func node(n *corev1.Node) capacity.Node {
	requested, _ := api.RetireRequest(n) // tidegate status says what is wrong
	return capacity.Node{
		Name:        n.Name,
		UID:         n.UID,
		Shape:       fit.ShapeOf(n),
		Pool:        n.Labels[api.PoolLabel],
		Recorded:    n.Annotations[api.VMIDAnnotation],
		Ready:       readySince(n) != nil,
		Created:     n.CreationTimestamp.Time,
		SilentSince: silentSince(n),
		Server:      api.IsServer(n),
		Keep:        api.KeepReason(n),
		Requested:   requested,
		Retirement:  api.RetirementOf(n),
		Fence:       api.FenceToken(n),
		Deleting:    n.Annotations[api.DeletingAnnotation],
		Restart:     api.RestartOf(n),
		Outdated:    api.Outdated(n),
		BootID:      n.Status.NodeInfo.BootID,

		Interruptions: api.Interruptions(n),
		Approved:      api.ApprovedInterruptions(n),
	}
}

// readySince returns when the node became ready, nil if it is not.
func readySince(n *corev1.Node) *metav1.Time {
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return &c.LastTransitionTime
		}
	}
	return nil
}

// silentSince returns when the node ceased to be ready, or joined if it never
// was; zero if it is ready.
func silentSince(n *corev1.Node) time.Time {
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return time.Time{}
			}
			return c.LastTransitionTime.Time
		}
	}
	return n.CreationTimestamp.Time
}

// identity is what the node says of its machine.
func identity(n *corev1.Node) capacity.Identity {
	return capacity.Identity{Name: n.Name, SystemUUID: n.Status.NodeInfo.SystemUUID, ProviderID: n.Spec.ProviderID}
}

// podCondition returns the pod's condition of that type, nil if it has none.
func podCondition(status *corev1.PodStatus, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range status.Conditions {
		if status.Conditions[i].Type == kind {
			return &status.Conditions[i]
		}
	}
	return nil
}
