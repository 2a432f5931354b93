package demo

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

const (
	namespace = metav1.NamespaceDefault
	frames    = 40
	// idleAfter is how long the demo's empty machines are kept.
	idleAfter = 8 * time.Second
)

// poolOf is a scale set whose machines boot in 8 to 15 s, with tags that bound
// it and that describe its machines, of which the agents' share is left out.
func poolOf(name, size string, limit int, shape emulator.Shape, extra corev1.ResourceList) emulator.ScaleSet {
	set := emulator.ScaleSet{
		Name: name, Size: size, Shape: &shape,
		BootTime: emulator.Between(8*time.Second, 15*time.Second),
		Tags: map[string]string{
			api.EnabledTag: "enabled", api.MinTag: "0", api.MaxTag: strconv.Itoa(limit), api.IdleAfterTag: idleAfter.String(),
			"k8s.io_cluster-autoscaler_node-template_resources_cpu":    fmt.Sprintf("%dm", shape.VCPUs*975),
			"k8s.io_cluster-autoscaler_node-template_resources_memory": fmt.Sprintf("%dMi", shape.MemoryGiB*1024*95/100),
		},
		Node: emulator.NodeTemplate{Resources: extra},
	}
	for resourceName, quantity := range extra {
		// Azure allows no slash in a tag's name.
		name := strings.ReplaceAll(string(resourceName), "/", "_")
		set.Tags["k8s.io_cluster-autoscaler_node-template_resources_"+name] = quantity.String()
	}
	return set
}

// job is a Job whose pods opt in, ask for so many CPUs and run for so long.
func job(name string, pods int, cpu string, run time.Duration, annotations map[string]string) *batchv1.Job {
	all := map[string]string{api.GateKey: "true", cluster.RunFor: seconds(run)}
	for key, value := range annotations {
		all[key] = value
	}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: batchv1.JobSpec{
			Parallelism: new(int32(pods)), Completions: new(int32(pods)), CompletionMode: new(batchv1.IndexedCompletion),
			BackoffLimit: new(int32(0)),
			Template:     template(all, corev1.RestartPolicyNever, corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("2Gi")}),
		},
	}
}

func template(annotations map[string]string, restart corev1.RestartPolicy, requests corev1.ResourceList) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
		Spec: corev1.PodSpec{
			RestartPolicy: restart,
			Containers:    []corev1.Container{{Name: "work", Image: "work", Resources: corev1.ResourceRequirements{Requests: requests}}},
		},
	}
}

// seconds is a duration as the kubelets of the demo's cluster read it.
func seconds(d time.Duration) string { return strconv.Itoa(int(d.Round(time.Second).Seconds())) + "s" }

// bystanders are what runs in any cluster and never opts in.
func (d *demo) bystanders(ctx context.Context) error {
	small := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")}
	labels := map[string]string{"app": "svclb-web"}
	daemon := template(nil, corev1.RestartPolicyAlways, small)
	daemon.Labels = labels
	daemon.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	_, err := d.rig.Client.AppsV1().DaemonSets(namespace).Create(ctx, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "svclb-web"},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: daemon},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create the DaemonSet: %w", err)
	}
	web := template(nil, corev1.RestartPolicyAlways, small)
	web.Labels = map[string]string{"app": "web"}
	_, err = d.rig.Client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: web.Labels}, Template: web},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create the Deployment: %w", err)
	}
	return nil
}

func (d *demo) submit(ctx context.Context, j *batchv1.Job) error {
	if _, err := d.rig.Client.BatchV1().Jobs(namespace).Create(ctx, j, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("submit Job %s: %w", j.Name, err)
	}
	d.view.line(fmt.Sprintf("submitted Job %s: %s", j.Name, count(int(*j.Spec.Completions), "pod")))
	return nil
}

// builtin is the scenario that the demo plays without a trace.
func (d *demo) builtin(ctx context.Context) error {
	agents := map[string]string{api.PoolAnnotation: "agents"}
	together := map[string]string{api.PoolAnnotation: "agents", api.AllOrNothingAnnotation: "true"}
	for _, j := range []*batchv1.Job{
		job("render", frames, "2", 20*time.Second, agents),
		job("ensemble", 8, "3", 15*time.Second, together),
		job("encode", 1, "14", 20*time.Second, nil),
	} {
		if err := d.submit(ctx, j); err != nil {
			return err
		}
	}
	if err := d.varyFrames(ctx); err != nil {
		return err
	}
	// While encode has the first machine of the pool big, the long pod gets a
	// second one. It is the newest, the one that a scale set's own scale-in
	// takes first, and the one that has to stay longest.
	if err := d.await(ctx, "encode runs", func() bool { return d.running(ctx, "encode") }); err != nil {
		return err
	}
	if err := d.submit(ctx, job("long", 1, "14", 60*time.Second, map[string]string{api.ExpectedDurationAnnotation: "60s"})); err != nil {
		return err
	}
	// The late pod needs a whole machine of agents when there is none but an
	// empty one that is about to go: it is taken back, and nothing is bought.
	if err := d.await(ctx, "a machine of agents is marked and empty", func() bool { return d.emptied(ctx, "agents") }); err != nil {
		return err
	}
	return d.submit(ctx, job("late", 1, "7", 10*time.Second, agents))
}

// running reports whether a pod of the Job runs.
func (d *demo) running(ctx context.Context, jobName string) bool {
	pods, err := d.rig.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + jobName})
	return err == nil && len(pods.Items) > 0 && pods.Items[0].Status.Phase == corev1.PodRunning
}

// varyFrames gives the frames run times from 5 to 60 s, while they wait.
func (d *demo) varyFrames(ctx context.Context) error {
	done := map[string]bool{}
	return d.await(ctx, "the frames are there", func() bool {
		pods, err := d.rig.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=render"})
		if err != nil {
			return false
		}
		for _, p := range pods.Items {
			index, err := strconv.Atoi(p.Labels[batchv1.JobCompletionIndexAnnotation])
			if err != nil || done[p.Name] {
				continue
			}
			run := 5*time.Second + time.Duration(index*55/(frames-1))*time.Second
			patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, cluster.RunFor, seconds(run))
			if _, err := d.rig.Client.CoreV1().Pods(namespace).Patch(ctx, p.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err == nil {
				done[p.Name] = true
			}
		}
		return len(done) == frames
	})
}

// emptied reports whether a node of the pool is marked and empty.
func (d *demo) emptied(ctx context.Context, pool string) bool {
	nodes, err := d.rig.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: api.PoolLabel + "=" + pool})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(nodes.Items, func(n corev1.Node) bool {
		retirement := api.RetirementOf(&n)
		return retirement != nil && retirement.EmptySince != nil && n.Annotations[api.DeletingAnnotation] == ""
	})
}
