package manager

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// converter turns Kubernetes objects into the planner's terms. It remembers
// pods by their version, so that only what changed is converted again.
type converter struct {
	compiler *fit.Compiler
	pods     map[types.UID]converted
}

type converted struct {
	version string
	pod     capacity.Pod
}

func newConverter() *converter {
	return &converter{compiler: fit.NewCompiler(), pods: map[types.UID]converted{}}
}

// all converts the unfinished pods, and forgets pods and classes that are gone.
func (c *converter) all(pods []corev1.Pod) []*capacity.Pod {
	out := make([]*capacity.Pod, 0, len(pods))
	kept := make(map[types.UID]converted, len(pods))
	for i := range pods {
		p := &pods[i]
		if api.Finished(p) || p.DeletionTimestamp != nil && p.Spec.NodeName == "" {
			continue
		}
		known, ok := c.pods[p.UID]
		if !ok || known.version != p.ResourceVersion {
			known = converted{version: p.ResourceVersion, pod: c.pod(p)}
		}
		kept[p.UID] = known
		pod := known.pod // its gang's size follows its Job
		out = append(out, &pod)
	}
	c.pods = kept
	if c.compiler.Len() > 2*len(kept)+1000 {
		used := map[*fit.Class]bool{}
		for _, known := range kept {
			used[known.pod.Class] = true
		}
		c.compiler.Keep(used)
	}
	return out
}

func (c *converter) pod(p *corev1.Pod) capacity.Pod {
	request, _ := api.ParsePodRequest(p.Annotations)
	condition := podCondition(&p.Status, api.CapacityCondition)
	gated := api.HasCapacityGate(p)
	pod := capacity.Pod{
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
	if p.Spec.NodeName == "" {
		pod.Class = c.compiler.Class(p, request.Pool)
	} else {
		pod.Class = c.compiler.Bound(p)
	}
	if request.Gang != "" {
		pod.Gang = "named/" + request.Gang
	} else if owner := metav1.GetControllerOf(p); request.AllOrNothing && owner != nil && api.OwnedByJob(p) {
		pod.Gang = jobGang(owner.UID)
	}
	if runTime := api.RunTime(p); runTime > 0 && p.Status.StartTime != nil {
		pod.Ends = p.Status.StartTime.Add(runTime)
	}
	return pod
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

// daemons returns the classes of the DaemonSets' pods, but for those that opted
// in: these are work like any other.
func (c *converter) daemons(sets []appsv1.DaemonSet) []*fit.Class {
	var classes []*fit.Class
	for i := range sets {
		template := &sets[i].Spec.Template
		request, _ := api.ParsePodRequest(template.Annotations)
		if sets[i].DeletionTimestamp == nil && (request.OptIn == nil || !*request.OptIn) {
			classes = append(classes, c.compiler.Class(&corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}, ""))
		}
	}
	return classes
}

// slowStart is how long after its newest pod a Job's controller is still
// expected to create more: it does so within seconds, unless a quota or a
// back-off keeps it from doing so for an unknown time.
const slowStart = time.Minute

// jobs sets the gang sizes of Jobs' pods and returns the pods that Jobs have
// yet to create. succeeded counts the Jobs' pods that have succeeded and still
// are there: a Job's own status is behind them.
func jobs(list []batchv1.Job, pods []*capacity.Pod, owners map[types.UID]types.UID, succeeded map[types.UID]int, now time.Time) []capacity.Expected {
	present := map[types.UID][]*capacity.Pod{}
	for _, p := range pods {
		if job, ok := owners[p.UID]; ok {
			present[job] = append(present[job], p)
		}
	}
	var expected []capacity.Expected
	for i := range list {
		job := &list[i]
		own := present[job.UID]
		want := wantedPods(job, succeeded[job.UID])
		var like *capacity.Pod
		var newest time.Time
		for _, p := range own {
			if p.Created.After(newest) {
				newest = p.Created
			}
			if p.Gang == jobGang(job.UID) {
				p.GangSize = want
			}
			if p.Gated && !p.OthersGate && (like == nil || p.Key.Name < like.Key.Name) {
				like = p
			}
		}
		if missing := want - len(own); missing > 0 && like != nil && now.Sub(newest) < slowStart {
			expected = append(expected, capacity.Expected{Like: like.UID, Count: missing})
		}
	}
	return expected
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
	return capacity.Node{
		Name: n.Name,
		UID:  n.UID,
		Shape: fit.Shape{
			Labels:      n.Labels,
			Taints:      n.Spec.Taints,
			Allocatable: fit.ResourcesOf(n.Status.Allocatable),
		},
		Pool:       n.Labels[api.PoolLabel],
		Recorded:   n.Annotations[api.VMIDAnnotation],
		Ready:      readySince(n) != nil,
		Created:    n.CreationTimestamp.Time,
		Server:     api.IsServer(n),
		Keep:       api.KeepReason(n),
		Requested:  api.RetireRequested(n),
		Retirement: api.RetirementOf(n),
		Fence:      api.FenceToken(n),
		Deleting:   n.Annotations[api.DeletingAnnotation],

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
