package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// namespace holds all work.
const namespace = "work"

// work is what a user submits at one time.
type work struct {
	at      time.Duration
	objects []client.Object
}

// What a pod is to the simulation, as a label.
const (
	roleLabel = "simulation/role"
	// hopeless pods fit no machine; their users give up in the end.
	hopeless = "hopeless"
	// stranger pods know nothing of Tidegate: the scheduler binds them whenever
	// and wherever it can. Their users give up those that run nowhere.
	stranger = "stranger"
	// resident pods do not end by themselves; their users delete them.
	resident = "resident"
)

// othersGate is the gate of another controller.
const othersGate = "example.com/quota"

// newWork draws what users submit. But for the hopeless pods all of it can run
// on the pools.
func newWork(r *rand.Rand, pools []pool) []work {
	all := []work{{objects: []client.Object{daemonSet()}}}
	for i := range 12 * r.IntN(4) {
		all = append(all, work{at: time.Duration(r.Int64N(int64(trouble))), objects: []client.Object{newStranger(r, i)}})
	}
	for i := range max(0, r.IntN(4)-2) {
		all = append(all, work{at: time.Duration(r.Int64N(int64(arrivals))), objects: []client.Object{newResident(r, i)}})
	}
	for i := range max(0, r.IntN(4)-1) {
		all = append(all, work{at: time.Duration(r.Int64N(int64(arrivals))), objects: newHopeless(r, i)})
	}
	bursts := 1 + r.IntN(3)
	for i := range 3 + r.IntN(8) {
		at := time.Duration(r.Int64N(int64(arrivals)))
		if r.IntN(2) == 0 {
			at = arrivals * time.Duration(r.IntN(bursts)) / time.Duration(bursts)
		}
		all = append(all, work{at: at, objects: newUnit(r, fmt.Sprintf("w%02d", i), pools)})
	}
	return all
}

// newUnit draws one Job or a few pods.
func newUnit(r *rand.Rand, name string, pools []pool) []client.Object {
	p := &pools[r.IntN(len(pools))]
	share := 1 + r.IntN(4) // pods of a machine
	annotations := map[string]string{
		api.GateKey:               "true",
		cluster.RunTimeAnnotation: seconds(r, 10, int(longestRun.Seconds())/(1+r.IntN(8))).Round(time.Second).String(),
	}
	// A DaemonSet's pod takes its part of every machine.
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
		Spec:       podSpec(int64(p.cpu)*900/int64(share), int64(p.cpu)*(2<<30)/int64(share)),
	}
	if r.IntN(3) == 0 {
		annotations[api.ExpectedDurationAnnotation] = annotations[cluster.RunTimeAnnotation]
	}
	if r.IntN(4) == 0 {
		annotations[api.PoolAnnotation] = p.name
	}
	if r.IntN(8) == 0 {
		template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: othersGate}}
	}
	room := share * p.max
	switch r.IntN(4) {
	case 0: // a Job
		completions := 1 + r.IntN(12)
		return []client.Object{newJob(name, template, 1+r.IntN(completions), completions)}
	case 1: // a Job whose pods run together
		n := 1 + r.IntN(min(room, 8))
		annotations[api.AllOrNothingAnnotation] = "true"
		return []client.Object{newJob(name, template, n, n)}
	case 2: // a named gang
		n := 1 + r.IntN(min(room, 6))
		annotations[api.GangAnnotation], annotations[api.GangSizeAnnotation] = name, strconv.Itoa(n)
		return newPods(name, template, n)
	default:
		return newPods(name, template, 1+r.IntN(4))
	}
}

// newStranger is a small and short pod without a gate.
func newStranger(r *rand.Rand, i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("s%02d", i), Labels: map[string]string{roleLabel: stranger},
			Annotations: map[string]string{cluster.RunTimeAnnotation: seconds(r, 2, 120).String()},
		},
		Spec: podSpec(100, 64<<20),
	}
}

// newResident is what a Deployment makes.
func newResident(r *rand.Rand, i int) *corev1.Pod {
	pod := newStranger(r, i)
	pod.Name, pod.Labels = fmt.Sprintf("r%02d", i), map[string]string{roleLabel: resident}
	pod.Annotations = nil
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	return pod
}

// newHopeless are pods that no machine is large enough for, a gang perhaps;
// some of them have had enough after a while.
func newHopeless(r *rand.Rand, i int) []client.Object {
	annotations := map[string]string{api.GateKey: "true"}
	if r.IntN(2) == 0 {
		annotations[api.MaxWaitAnnotation] = seconds(r, 30, 600).Round(time.Second).String()
	}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Spec: podSpec(100_000, 1<<30)}
	n := 1 + r.IntN(3)
	if r.IntN(3) == 0 {
		annotations[api.GangAnnotation], annotations[api.GangSizeAnnotation] = "hopeless", strconv.Itoa(n)
	}
	pods := newPods(fmt.Sprintf("h%02d", i), template, n)
	for _, pod := range pods {
		pod.SetLabels(map[string]string{roleLabel: hopeless})
	}
	return pods
}

func podSpec(milliCPU, memory int64) corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers: []corev1.Container{{Name: "work", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
		}}}},
	}
}

func newJob(name string, template corev1.PodTemplateSpec, parallelism, completions int) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       batchv1.JobSpec{Template: template, Parallelism: ptr.To(int32(parallelism)), Completions: ptr.To(int32(completions))},
	}
}

func newPods(name string, template corev1.PodTemplateSpec, n int) []client.Object {
	var pods []client.Object
	for i := range n {
		pods = append(pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-%d", name, i), Annotations: template.Annotations},
			Spec:       *template.Spec.DeepCopy(),
		})
	}
	return pods
}

func daemonSet() *appsv1.DaemonSet {
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "node-log"}}
	set.Spec.Template.Spec = podSpec(50, 64<<20)
	set.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	set.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	return set
}

// submit creates what the plan has for a time, when it comes.
func (w *World) submit() {
	for _, work := range w.plan.work {
		w.Loop.In(work.at, func() {
			for _, o := range work.objects {
				if pod, ok := o.(*corev1.Pod); ok {
					w.Cluster.CreatePod(byUser, pod)
				} else {
					w.Cluster.Create(byUser, o)
				}
			}
		})
	}
	w.Loop.Every(30*time.Second, func() bool {
		for _, pod := range cluster.All[*corev1.Pod](w.Cluster.Store) {
			if len(pod.Spec.SchedulingGates) > 0 && w.Loop.Random.IntN(4) == 0 {
				w.grant(pod)
			}
		}
		return !w.over
	})
}

// byUser is the name under which users write.
const byUser = "user"

// grant takes the other controller's gate off the pod.
func (w *World) grant(pod *corev1.Pod) {
	granted := pod.DeepCopy()
	granted.Spec.SchedulingGates = slices.DeleteFunc(granted.Spec.SchedulingGates, func(g corev1.PodSchedulingGate) bool { return g.Name == othersGate })
	if len(granted.Spec.SchedulingGates) < len(pod.Spec.SchedulingGates) {
		_ = w.Cluster.Store.Update(byUser, granted) // it was read just now
	}
}

// unknown reports whether the node came into being after its machine had gone, and no
// process lived for long with it that had seen that machine.
func (w *World) unknown(node *corev1.Node) bool {
	gone, ok := w.gone[strings.ToLower(node.Status.NodeInfo.SystemUUID)]
	return ok && !node.CreationTimestamp.Time.Before(gone.Truncate(time.Second)) && !slices.ContainsFunc(w.processes, func(p *process) bool {
		return p.began.Before(gone) && (p.died.IsZero() || p.died.Sub(node.CreationTimestamp.Time) > patience)
	})
}

// giveUp deletes what can or will not end or go by itself.
func (w *World) giveUp() {
	for _, pod := range cluster.All[*corev1.Pod](w.Cluster.Store) {
		if role := pod.Labels[roleLabel]; role == hopeless || role == resident || role == stranger && pod.Spec.NodeName == "" {
			_ = w.Cluster.DeletePod(byUser, pod) // it was read just now
		}
	}
	for _, node := range cluster.All[*corev1.Node](w.Cluster.Store) {
		// Azure took its machine before any process had seen it in a list, or the
		// request to join came when the machine was gone and with it the process that
		// had seen it: nobody but a person can tell this node from one that is none of
		// Tidegate's.
		_, up := w.Cluster.Machine(node)
		if !up && node.Annotations[api.VMIDAnnotation] == "" && (w.taken[node.UID] || w.unknown(node)) {
			_ = w.Cluster.Store.Delete(byUser, node) // it was read just now
		}
	}
}
