package cluster

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	// collect is after how long pods of a Node that is gone are removed, at most.
	collect = 40 * time.Second
	// evictAfter is how long pods stay on a node that is not ready.
	// Source: the default toleration of the taint not-ready.
	evictAfter = 5 * time.Minute
	// reconcile is how long a Job's controller takes to react, at most.
	reconcile = time.Second
)

// watchNodes removes what nodes leave behind.
func (c *Cluster) watchNodes() {
	c.Store.Watch(func(e Event) {
		if node, ok := e.Old.(*corev1.Node); ok && e.New == nil {
			c.Loop.In(time.Duration(c.Loop.Random.Int64N(int64(collect))), func() { c.collect(node.Name) })
		}
		after, ok := e.New.(*corev1.Node)
		before, _ := e.Old.(*corev1.Node)
		if ok && before != nil && Ready(before) && !Ready(after) {
			c.Loop.In(evictAfter, func() { c.evictFrom(after) })
		}
	})
	c.Store.Watch(func(e Event) {
		// A binding to a node that is gone leaves a pod that nobody will run.
		if pod, ok := e.New.(*corev1.Pod); ok && pod.Spec.NodeName != "" && Get[*corev1.Node](c.Store, "", pod.Spec.NodeName) == nil {
			c.Loop.In(time.Duration(c.Loop.Random.Int64N(int64(collect))), func() { c.collect(pod.Spec.NodeName) })
		}
	})
}

func (c *Cluster) collect(node string) {
	if Get[*corev1.Node](c.Store, "", node) != nil {
		return
	}
	for _, pod := range All[*corev1.Pod](c.Store) {
		if pod.Spec.NodeName == node {
			_ = c.Store.Delete(byController, pod) // it is there: it was listed just now
		}
	}
}

func (c *Cluster) evictFrom(node *corev1.Node) {
	now := Get[*corev1.Node](c.Store, "", node.Name)
	if now == nil || now.UID != node.UID || Ready(now) {
		return
	}
	for _, pod := range All[*corev1.Pod](c.Store) {
		if pod.Spec.NodeName == node.Name && !daemon(pod) {
			_ = c.DeletePod(byController, pod)
		}
	}
}

// Ready reports whether the node says that it is ready.
func Ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func daemon(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "DaemonSet"
}

// jobState is what a Job's controller knows of it beside the pods.
type jobState struct {
	succeeded int
	created   int
	batch     int // how many pods it creates next at most
	woken     bool
}

func (c *Cluster) watchJobs() {
	c.Store.Watch(func(e Event) {
		switch o := e.Object().(type) {
		case *batchv1.Job:
			if e.Old == nil {
				c.jobs[string(o.UID)] = &jobState{batch: 1}
				c.wakeJob(o)
			}
		case *corev1.Pod:
			owner := metav1.GetControllerOf(o)
			if owner == nil || owner.Kind != "Job" {
				return
			}
			before, _ := e.Old.(*corev1.Pod)
			if after, ok := e.New.(*corev1.Pod); ok && after.Status.Phase == corev1.PodSucceeded && before.Status.Phase != corev1.PodSucceeded {
				c.jobs[string(owner.UID)].succeeded++
			}
			if job := Get[*batchv1.Job](c.Store, o.Namespace, owner.Name); job != nil {
				c.wakeJob(job)
			}
		}
	})
}

func (c *Cluster) wakeJob(job *batchv1.Job) {
	state := c.jobs[string(job.UID)]
	if state.woken {
		return
	}
	state.woken = true
	c.Loop.In(time.Duration(c.Loop.Random.Int64N(int64(reconcile))), func() {
		state.woken = false
		c.reconcileJob(job, state)
	})
}

// reconcileJob creates the pods that are missing, in batches that double, and
// counts those that have succeeded.
func (c *Cluster) reconcileJob(job *batchv1.Job, state *jobState) {
	job = Get[*batchv1.Job](c.Store, job.Namespace, job.Name)
	if job == nil {
		return
	}
	active := 0
	for _, pod := range All[*corev1.Pod](c.Store) {
		if owner := metav1.GetControllerOf(pod); owner != nil && owner.UID == job.UID && !finished(pod) {
			active++
		}
	}
	completions, parallelism := int(*job.Spec.Completions), int(*job.Spec.Parallelism)
	missing := min(parallelism, completions-state.succeeded) - active
	for range min(missing, state.batch) {
		state.created++
		c.CreatePod(byController, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: job.Namespace, Name: fmt.Sprintf("%s-%03d", job.Name, state.created),
				Labels: job.Spec.Template.Labels, Annotations: job.Spec.Template.Annotations,
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))},
			},
			Spec: *job.Spec.Template.Spec.DeepCopy(),
		})
	}
	if missing > state.batch {
		state.batch *= 2
	} else {
		state.batch = 1
	}
	if job.Status.Succeeded == int32(state.succeeded) {
		return
	}
	job = job.DeepCopy()
	job.Status.Succeeded = int32(state.succeeded)
	if state.succeeded >= completions {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue})
	}
	if err := c.Store.Update(byController, job); err != nil {
		panic(fmt.Sprintf("update job %s: %v", job.Name, err))
	}
}

// UnfinishedJob returns a Job that is not complete, "" if all are.
func (c *Cluster) UnfinishedJob() string {
	for _, job := range All[*batchv1.Job](c.Store) {
		if job.Status.Succeeded < *job.Spec.Completions {
			return "job " + job.Name
		}
	}
	return ""
}

// watchDaemonSets gives each node its pods.
func (c *Cluster) watchDaemonSets() {
	c.Store.Watch(func(e Event) {
		node, ok := e.New.(*corev1.Node)
		if !ok || e.Old != nil {
			return
		}
		c.Loop.In(time.Duration(c.Loop.Random.Int64N(int64(reconcile))), func() {
			now := Get[*corev1.Node](c.Store, "", node.Name)
			if now == nil || now.UID != node.UID {
				return
			}
			for _, set := range All[*appsv1.DaemonSet](c.Store) {
				c.CreatePod(byController, daemonPod(set, node.Name, c.number()))
			}
		})
	})
}

func (c *Cluster) number() int {
	c.names++
	return c.names
}

func daemonPod(set *appsv1.DaemonSet, node string, n int) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: set.Namespace, Name: fmt.Sprintf("%s-%03d", set.Name, n),
			Annotations:     set.Spec.Template.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("DaemonSet"))},
		},
		Spec: *set.Spec.Template.Spec.DeepCopy(),
	}
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: notReady.Key, Operator: corev1.TolerationOpExists})
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}},
	}}}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(1))
	return pod
}
