package cluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

func client(t *testing.T) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(shared.Config())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startMachine creates a Node as an agent would register it and waits until it is Ready.
func startMachine(t *testing.T) *corev1.Node {
	t.Helper()
	name := "machine-" + rand.String(5)
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("4"),
		corev1.ResourceMemory: resource.MustParse("8Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      map[string]string{corev1.LabelHostname: name},
			Annotations: map[string]string{cluster.NodeAnnotation: cluster.NodeAnnotationValue},
		},
		Spec: corev1.NodeSpec{ProviderID: "k3s://" + name},
		Status: corev1.NodeStatus{
			Allocatable: resources,
			Capacity:    resources,
			NodeInfo:    corev1.NodeSystemInfo{SystemUUID: "8f1e6c0a-0000-4000-8000-000000000001", KubeletVersion: "v1.33.1+k3s1"},
		},
	}
	if _, err := client(t).CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, name, corev1.ConditionTrue)
	return node
}

func awaitReady(t *testing.T, node string, want corev1.ConditionStatus) {
	t.Helper()
	eventually(t, fmt.Sprintf("node %s has Ready=%s", node, want), func() error {
		got, err := client(t).CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range got.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == want {
				return nil
			}
		}
		return fmt.Errorf("conditions %v", got.Status.Conditions)
	})
}

// podTemplate is that of a pod that runs only on the node.
func podTemplate(node string, annotations map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
		Spec: corev1.PodSpec{
			NodeSelector:  map[string]string{corev1.LabelHostname: node},
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "main", Image: "none"}},
		},
	}
}

// runPod creates a pod, waits until it runs and returns its name.
func runPod(t *testing.T, node string, annotations map[string]string) (name string) {
	t.Helper()
	template := podTemplate(node, annotations)
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name = "pod-" + rand.String(5)
	if _, err := client(t).CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitPhase(t, pod.Name, corev1.PodRunning)
	return pod.Name
}

func awaitPhase(t *testing.T, pod string, want corev1.PodPhase) {
	t.Helper()
	eventually(t, fmt.Sprintf("pod %s is %s", pod, want), func() error {
		got, err := client(t).CoreV1().Pods("default").Get(t.Context(), pod, metav1.GetOptions{})
		if err == nil && got.Status.Phase != want {
			err = fmt.Errorf("it is %s", got.Status.Phase)
		}
		return err
	})
}

func TestNodeKeepsWhatItRegistered(t *testing.T) {
	want := startMachine(t)
	got, err := client(t).CoreV1().Nodes().Get(t.Context(), want.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		Labels      map[string]string
		ProviderID  string
		Allocatable corev1.ResourceList
		Capacity    corev1.ResourceList
		NodeInfo    corev1.NodeSystemInfo
	}
	of := func(n *corev1.Node) facts {
		return facts{n.Labels, n.Spec.ProviderID, n.Status.Allocatable, n.Status.Capacity, n.Status.NodeInfo}
	}
	if diff := cmp.Diff(of(want), of(got)); diff != "" {
		t.Errorf("node after it became Ready (-registered +now):\n%s", diff)
	}
}

func TestJobRunsForItsTime(t *testing.T) {
	machine := startMachine(t)
	jobs := client(t).BatchV1().Jobs("default")
	name, three := "job-"+rand.String(5), int32(3)
	const runFor = 3 * time.Second
	_, err := jobs.Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: batchv1.JobSpec{
			Parallelism: &three,
			Completions: &three,
			Template:    podTemplate(machine.Name, map[string]string{cluster.RunFor: runFor.String()}),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Job is complete", func() error {
		job, err := jobs.Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && job.Status.CompletionTime == nil {
			err = fmt.Errorf("status %+v", job.Status)
		}
		return err
	})
	pods, err := client(t).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
	if err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 3 {
		t.Errorf("the Job has %d pods, want 3", len(pods.Items))
	}
	for _, pod := range pods.Items {
		end := pod.Status.ContainerStatuses[0].State.Terminated
		if end == nil || end.FinishedAt.Sub(pod.Status.StartTime.Time) < runFor {
			t.Errorf("pod %s started at %v and ended with %+v; want it to run for %s", pod.Name, pod.Status.StartTime, end, runFor)
		}
	}
}

// A change to a pod must not set its clock back.
func TestPodChangedWhileRunningEndsOnTime(t *testing.T) {
	const runFor = 4 * time.Second
	pod := runPod(t, startMachine(t).Name, map[string]string{cluster.RunFor: runFor.String()})
	started := getPod(t, pod).Status.StartTime
	pods := client(t).CoreV1().Pods("default")
	for i := 0; getPod(t, pod).Status.Phase == corev1.PodRunning; i++ {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"seen":"%d"}}}`, i)
		if _, err := pods.Patch(t.Context(), pod, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if time.Since(started.Time) > 10*runFor {
			t.Fatal("the pod still runs")
		}
		time.Sleep(200 * time.Millisecond)
	}
	awaitPhase(t, pod, corev1.PodSucceeded)
}

func getPod(t *testing.T, pod string) *corev1.Pod {
	t.Helper()
	got, err := client(t).CoreV1().Pods("default").Get(t.Context(), pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRunningPodCanBeDeleted(t *testing.T) {
	pod := runPod(t, startMachine(t).Name, nil)
	deletePod(t, pod)
	awaitGone(t, pod)
}

func deletePod(t *testing.T, pod string) {
	t.Helper()
	if err := client(t).CoreV1().Pods("default").Delete(t.Context(), pod, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func awaitGone(t *testing.T, pod string) {
	t.Helper()
	eventually(t, fmt.Sprintf("pod %s is gone", pod), func() error {
		_, err := client(t).CoreV1().Pods("default").Get(t.Context(), pod, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there (%v)", err)
	})
}

func TestDeadMachineFallsSilent(t *testing.T) {
	dying, living := startMachine(t).Name, startMachine(t).Name
	unfinished := runPod(t, dying, map[string]string{cluster.RunFor: "5s"})
	undeleted := runPod(t, dying, nil)
	deleted := runPod(t, living, nil)

	nodes := client(t).CoreV1().Nodes()
	off := fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, cluster.NodeAnnotation)
	if _, err := nodes.Patch(t.Context(), dying, types.MergePatchType, []byte(off), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, dying, corev1.ConditionUnknown)
	if pod := getPod(t, unfinished); pod.Status.Phase != corev1.PodRunning {
		t.Errorf("a pod of a dead machine became %s", pod.Status.Phase)
	}
	deletePod(t, undeleted)
	// KWOK handles pods in the order of their events: once the later one is gone, the earlier one had its turn.
	deletePod(t, deleted)
	awaitGone(t, deleted)
	if pod := getPod(t, undeleted); pod.DeletionTimestamp == nil {
		t.Error("the pod that was deleted on the dead machine is not marked for deletion")
	}

	if err := nodes.Delete(t.Context(), dying, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	leases := client(t).CoordinationV1().Leases(corev1.NamespaceNodeLease)
	eventually(t, "the lease of the dead machine is gone", func() error {
		_, err := leases.Get(t.Context(), dying, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the lease is there (%v)", err)
	})
}
