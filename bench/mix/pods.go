// Package mix is the input of Karpenter's scheduling benchmark: the pods that
// wait and the machines that are for sale. Both planners are given the same.
//
// Source: sigs.k8s.io/karpenter v1.14.1,
// pkg/controllers/provisioning/scheduling/scheduling_benchmark_test.go.
package mix

import (
	"fmt"
	"math/rand"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// seed is the one that Karpenter's benchmark draws from.
const seed = 42

// kinds is how many kinds of pods the mix has, in equal numbers.
const kinds = 5

// The labels that pods are told apart by, and the values that are drawn.
const (
	spreadLabel   = "my-label"
	affinityLabel = "my-affinity"
	apartLabel    = "app"
)

var (
	values   = []string{"a", "b", "c", "d", "e", "f", "g"}
	cpus     = []string{"100m", "250m", "500m", "1000m", "1500m"}
	memories = []string{"100Mi", "256Mi", "512Mi", "1024Mi", "2048Mi", "4096Mi"}
)

// Pods returns so many pods: a fifth each of plain ones, ones that spread over
// zones, ones that spread over hosts, ones that want to be in one zone with
// their like, and ones that share a host with none of their like. Plain ones
// fill up a number that five does not divide. Equal counts give equal pods,
// whatever was drawn before.
func Pods(count int) []*corev1.Pod {
	d := &draw{random: rand.New(rand.NewSource(seed))}
	each := count / kinds
	d.add(each, d.plain)
	d.add(each, d.spread(corev1.LabelTopologyZone))
	d.add(each, d.spread(corev1.LabelHostname))
	d.add(each, d.together)
	d.add(each, apart)
	d.add(count-len(d.pods), d.plain)
	return d.pods
}

// Apart returns so many pods each of which wants a host without the others.
func Apart(count int) []*corev1.Pod {
	d := &draw{random: rand.New(rand.NewSource(seed))}
	d.add(count, apart)
	return d.pods
}

// draw makes pods, drawing in the order in which Karpenter's benchmark draws:
// a pod's labels, what its rules select, its CPU, its memory.
type draw struct {
	random *rand.Rand
	pods   []*corev1.Pod
}

func (d *draw) add(count int, rules func(*corev1.Pod)) {
	for range count {
		name := fmt.Sprintf("pod-%06d", len(d.pods))
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name, UID: types.UID(name)}}
		rules(pod)
		pod.Spec.Containers = []corev1.Container{{
			Name:  "main",
			Image: "pause",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse(d.one(cpus)),
				corev1.ResourceMemory: resource.MustParse(d.one(memories)),
			}},
		}}
		d.pods = append(d.pods, pod)
	}
}

func (d *draw) one(of []string) string { return of[d.random.Intn(len(of))] }

func (d *draw) plain(pod *corev1.Pod) {
	pod.Labels = map[string]string{spreadLabel: d.one(values)}
}

// spread is a rule over pods that the pod itself need not be like.
func (d *draw) spread(key string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		d.plain(pod)
		pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew:           1,
			TopologyKey:       key,
			WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector:     &metav1.LabelSelector{MatchLabels: map[string]string{spreadLabel: d.one(values)}},
		}}
	}
}

func (d *draw) together(pod *corev1.Pod) {
	pod.Labels = map[string]string{affinityLabel: d.one(values)}
	pod.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: like(pod.Labels, corev1.LabelTopologyZone),
	}}
}

func apart(pod *corev1.Pod) {
	pod.Labels = map[string]string{apartLabel: "nginx"}
	pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: like(pod.Labels, corev1.LabelHostname),
	}}
}

func like(labels map[string]string, key string) []corev1.PodAffinityTerm {
	return []corev1.PodAffinityTerm{{LabelSelector: &metav1.LabelSelector{MatchLabels: labels}, TopologyKey: key}}
}
