package manager

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
	"github.com/tidegate-k3s/tidegate/internal/runtimes"
)

// What caches hold less of a pod changes nothing about it, and nothing about what is
// learned from it.
func TestTrimTakesNothingThatCounts(t *testing.T) {
	one := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	container := corev1.Container{
		Name: "work", Image: "work", Command: []string{"render"}, Args: []string{"--frame=1"},
		Env: []corev1.EnvVar{{Name: "A", Value: "b"}}, Resources: corev1.ResourceRequirements{Requests: one},
		Ports:           []corev1.ContainerPort{{HostPort: 80, ContainerPort: 80}},
		LivenessProbe:   &corev1.Probe{},
		SecurityContext: &corev1.SecurityContext{Privileged: new(true)},
		VolumeMounts:    []corev1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "data", MountPath: "/exec", BindMountOptions: []string{"noexec"}}},
	}
	whole := gatedPod(func(p *corev1.Pod) {
		p.Annotations[corev1.LastAppliedConfigAnnotation] = "{}"
		p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		p.Spec.Containers, p.Spec.InitContainers = []corev1.Container{container}, []corev1.Container{container}
		p.Spec.Volumes = []corev1.Volume{
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{Name: "disk", VolumeSource: corev1.VolumeSource{AzureDisk: &corev1.AzureDiskVolumeSource{DiskName: "disk", DataDiskURI: "/disks/disk"}}},
		}
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{}}
		start, end := metav1.NewTime(created), metav1.NewTime(created.Add(time.Hour))
		p.Status.Phase, p.Status.StartTime = corev1.PodSucceeded, &start
		p.Status.Conditions = append(p.Status.Conditions,
			corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: start},
			corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "work", ImageID: "sha256:1", AllocatedResources: one,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: end}},
		}}
	})
	trimmed := whole.DeepCopy()
	if _, err := Trim(trimmed); err != nil {
		t.Fatal(err)
	}
	if size := trimmed.Size(); size > whole.Size()-100 {
		t.Errorf("%d bytes are left of %d", size, whole.Size())
	}
	compiler := fit.NewCompiler()
	compiler.Objects = &objects{}
	if diff := cmp.Diff(*convertPod(&whole, compiler, 0), *convertPod(trimmed, compiler, 0), cmp.Comparer(func(a, b *fit.Class) bool { return a == b })); diff != "" {
		t.Errorf("the pod (-whole +trimmed):\n%s", diff)
	}
	var learner runtimes.Learner
	learner.Observe(trimmed)
	if got := learner.Expect(&whole); got != time.Hour {
		t.Errorf("pods like it are expected to run for %s, want an hour", got)
	}
	standing := func(p *corev1.Pod) *capacity.Load {
		p = p.DeepCopy()
		p.Spec.NodeName, p.Status.Phase = "n", corev1.PodRunning
		return capacity.NewLoad([]*capacity.Pod{convertPod(p, compiler, 0)})
	}
	if diff := cmp.Diff(standing(&whole).Others, standing(trimmed).Others); diff != "" {
		t.Errorf("what it takes of its node (-whole +trimmed):\n%s", diff)
	}
}

// BenchmarkCachedPod says how many bytes of the heap a running pod takes in the cache,
// whole and trimmed. The pod is as a Job's controller and a kubelet leave it.
func BenchmarkCachedPod(b *testing.B) {
	now := metav1.NewTime(created)
	pod := gatedPod(func(p *corev1.Pod) {
		p.Labels = map[string]string{"batch.kubernetes.io/job-name": "frames", "batch.kubernetes.io/controller-uid": "0b0c", "app": "frames"}
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "frames", UID: "0b0c", Controller: new(true)}}
		p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager", FieldsV1: metav1.NewFieldsV1(strings.Repeat("f", 1500))}}
		p.Spec.NodeName = "agents000001"
		p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists}, {Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists}}
		p.Spec.Volumes = []corev1.Volume{{Name: "kube-api-access", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: make([]corev1.VolumeProjection, 3)}}}}
		env := make([]corev1.EnvVar, 10)
		for i := range env {
			env[i] = corev1.EnvVar{Name: "NAME", Value: "a value of twenty by"}
		}
		p.Spec.Containers = []corev1.Container{{
			Name: "work", Image: "registry.example.com/team/render:1.2.3", Command: []string{"render"}, Args: []string{"--scene", "lake"}, Env: env,
			Resources:     corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("2Gi")}},
			VolumeMounts:  []corev1.VolumeMount{{Name: "kube-api-access", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}},
			LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"alive"}}}},
		}}
		p.Status.Phase, p.Status.StartTime = corev1.PodRunning, &now
		for _, kind := range []corev1.PodConditionType{corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled, corev1.PodReadyToStartContainers} {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "work", Image: "registry.example.com/team/render:1.2.3", ImageID: "registry.example.com/team/render@sha256:0123456789abcdef",
			ContainerID: "containerd://0123456789abcdef0123456789abcdef", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		}}
	})
	wire, err := pod.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for name, trim := range map[string]bool{"whole": false, "trimmed": true} {
		b.Run(name, func(b *testing.B) {
			cached := make([]*corev1.Pod, b.N)
			before := heap()
			for i := range cached {
				cached[i] = &corev1.Pod{}
				if err := cached[i].Unmarshal(wire); err != nil {
					b.Fatal(err)
				}
				if trim {
					if _, err := Trim(cached[i]); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(heap()-before)/float64(b.N), "bytes/pod")
			runtime.KeepAlive(cached)
		})
	}
}
