package demo

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

const (
	namespace = metav1.NamespaceDefault
	// What each pod of the DaemonSet takes on its node.
	daemonCPU, daemonMemory = "50m", "32Mi"
	// bystanders are the replicas of the Deployment that never opted in.
	bystanders = 2
)

func requests(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func podSpec(restart corev1.RestartPolicy, requests corev1.ResourceList) corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy: restart,
		Containers: []corev1.Container{{
			Name: "work", Image: "registry.example/work",
			// Extended resources must have equal requests and limits.
			Resources: corev1.ResourceRequirements{Requests: requests, Limits: extended(requests)},
		}},
	}
}

func extended(requests corev1.ResourceList) corev1.ResourceList {
	limits := maps.Clone(requests)
	delete(limits, corev1.ResourceCPU)
	delete(limits, corev1.ResourceMemory)
	return limits
}

// batchJob is a Job that opts in with the one annotation; more may follow.
func batchJob(name string, completions, parallelism int32, requests corev1.ResourceList, more map[string]string) *batchv1.Job {
	annotations := map[string]string{api.GateKey: "true"}
	maps.Copy(annotations, more)
	mode := batchv1.IndexedCompletion
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: batchv1.JobSpec{
			Completions: &completions, Parallelism: &parallelism, CompletionMode: &mode,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
				Spec:       podSpec(corev1.RestartPolicyNever, requests),
			},
		},
	}
}

// runFor is the annotation that tells the cluster's kubelets how long a pod
// takes. Tidegate does not know it.
func runFor(d time.Duration) map[string]string {
	return map[string]string{cluster.RunFor: strconv.Itoa(int(d.Seconds())) + "s"}
}

func (d *demo) submit(ctx context.Context, job *batchv1.Job) error {
	if _, err := d.rig.Client.BatchV1().Jobs(namespace).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("submit Job %s: %w", job.Name, err)
	}
	d.submitted += int(*job.Spec.Completions)
	d.view.line(fmt.Sprintf("submitted Job %s, pods: %d", job.Name, *job.Spec.Completions))
	return nil
}

// setRunTime tells the kubelets how long a pod that exists takes from its
// start.
func (d *demo) setRunTime(ctx context.Context, pod string, run time.Duration) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, cluster.RunFor, runFor(run)[cluster.RunFor])
	if _, err := d.rig.Client.CoreV1().Pods(namespace).Patch(ctx, pod, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("set the run time of pod %s: %w", pod, err)
	}
	return nil
}

func (d *demo) podsOf(ctx context.Context, job string) ([]corev1.Pod, error) {
	list, err := d.rig.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
	if err != nil {
		return nil, fmt.Errorf("list the pods of Job %s: %w", job, err)
	}
	return list.Items, nil
}

// startBystanders starts what is there anyway and never opts in: the
// DaemonSet of a k3s service and a small Deployment. It returns the UIDs of the
// Deployment's pods, once they run.
func (d *demo) startBystanders(ctx context.Context) (map[types.UID]bool, error) {
	daemon := metav1.LabelSelector{MatchLabels: map[string]string{"app": "svclb-web"}}
	spec := podSpec(corev1.RestartPolicyAlways, requests(daemonCPU, daemonMemory))
	spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	if _, err := d.rig.Client.AppsV1().DaemonSets(metav1.NamespaceSystem).Create(ctx, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "svclb-web"},
		Spec: appsv1.DaemonSetSpec{Selector: &daemon, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: daemon.MatchLabels}, Spec: spec,
		}},
	}, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("create DaemonSet svclb-web: %w", err)
	}
	replicas, web := int32(bystanders), metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	if _, err := d.rig.Client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &web, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: web.MatchLabels},
			Spec:       podSpec(corev1.RestartPolicyAlways, requests("100m", "64Mi")),
		}},
	}, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("create Deployment web: %w", err)
	}
	var running map[types.UID]bool
	err := d.await(ctx, "the pods of Deployment web run", func() (_ bool, err error) {
		running, err = d.runningBystanders(ctx)
		return len(running) == bystanders, err
	})
	return running, err
}

func (d *demo) runningBystanders(ctx context.Context) (map[types.UID]bool, error) {
	pods, err := d.rig.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return nil, fmt.Errorf("list the pods of Deployment web: %w", err)
	}
	running := map[types.UID]bool{}
	for _, p := range pods.Items {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			running[p.UID] = true
		}
	}
	return running, nil
}
