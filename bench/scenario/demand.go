package scenario

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/bench/mix"
	"github.com/tidegate-k3s/tidegate/bench/tidegate"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// pod requests so many thousandths of a CPU and bytes of memory.
func pod(name string, milliCPU, memory int64) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "work", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "work"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Resources: corev1.ResourceRequirements{Requests: resources(milliCPU, memory, 0)},
		}}},
	}
}

// list makes pods, numbered from 0.
func list(count int, one func(i int, name string) *corev1.Pod) []*corev1.Pod {
	pods := make([]*corev1.Pod, 0, count)
	for i := range count {
		pods = append(pods, one(i, fmt.Sprintf("pod-%06d", i)))
	}
	return pods
}

// EstimatorMix is the demand and the machine of Cluster Autoscaler's estimator
// benchmark: 51,000 pods, of which 2,595 machines are filled to the last
// thousandth of a CPU.
//
// Source: Cluster Autoscaler, estimator/binpacking_estimator_test.go,
// BenchmarkBinpackingEstimate.
func EstimatorMix() capacity.Snapshot {
	return estimator(51_000, func(i int, name string) *corev1.Pod {
		if i < 50_000 {
			return pod(name, 50, 100)
		}
		return pod(name, 95, 190)
	})
}

// ThreeKinds is as many pods for the same machine, of three kinds, one of which
// is short of memory.
func ThreeKinds() capacity.Snapshot {
	return estimator(51_000, func(i int, name string) *corev1.Pod {
		switch {
		case i < 30_000:
			return pod(name, 50, 100)
		case i < 50_000:
			return pod(name, 40, 400)
		}
		return pod(name, 95, 190)
	})
}

func estimator(count int, one func(i int, name string) *corev1.Pod) capacity.Snapshot {
	offers := []mix.Offer{machine("template", "zone-1", 1000, 5000, 100, 0)}
	return tidegate.Snapshot(list(count, one), tidegate.Pools(offers, count))
}

// Alike is a demand of equal pods, fifty of which fill a machine.
func Alike(count int) capacity.Snapshot {
	offers := []mix.Offer{machine("d8", "zone-1", 8000, 32<<30, maxPods, 0)}
	return tidegate.Snapshot(list(count, func(_ int, name string) *corev1.Pod { return pod(name, 160, 512<<20) }), tidegate.Pools(offers, count))
}

// OwnClasses is a demand of pods no two of which are alike, half of which
// spread over the zones with pods of their own.
func OwnClasses(count int) []*corev1.Pod {
	return list(count, func(i int, name string) *corev1.Pod {
		p := pod(name, int64(100+i), int64(256<<20+i<<12))
		p.Labels = map[string]string{"app": name}
		if i%2 == 0 {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
				MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule,
				LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels},
			}}
		}
		return p
	})
}

// Sized is a demand of fifty kinds of pods, each of which wants a CPU at least.
func Sized(count int) []*corev1.Pod {
	return list(count, func(i int, name string) *corev1.Pod {
		return pod(name, int64(1000+i%10*250), int64(1+i%5)<<30)
	})
}

// Gangs makes gangs of such a size out of the waiting pods, one after another.
func Gangs(waiting []*capacity.Pod, size int) {
	for i, p := range waiting {
		p.Gang, p.GangSize = fmt.Sprintf("gang-%05d", i/size), size
	}
}
