package cli

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func minute(n int) metav1.Time { return metav1.NewTime(noon.Add(time.Duration(n) * time.Minute)) }

// agent is a ready machine of the pool "agents" since noon.
func agent(change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "agents000001", UID: "uid-node", CreationTimestamp: minute(0),
		Labels:      map[string]string{api.PoolLabel: "agents"},
		Annotations: map[string]string{api.VMIDAnnotation: "vm-1"},
	}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, c := range change {
		c(n)
	}
	return n
}

func annotated(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Annotations[key] = value }
}

func labelled(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[key] = value }
}

func retiring(r api.Retirement) func(*corev1.Node) {
	return annotated(api.RetiringAnnotation, r.Encode())
}

func named(name string) func(*corev1.Node) { return func(n *corev1.Node) { n.Name = name } }

// batchPod is an opted-in pod of the namespace "work", made at noon.
func batchPod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "work", Name: name, UID: "uid-pod", CreationTimestamp: minute(0),
		Annotations: map[string]string{api.GateKey: "true"},
	}}
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.Spec.Containers = []corev1.Container{{Name: "work", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"),
	}}}}
	for _, c := range change {
		c(p)
	}
	return p
}

func gated(p *corev1.Pod) {
	p.Spec.SchedulingGates = append(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: api.CapacityGate})
}

func on(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.NodeName = node
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: minute(2)})
	}
}

// forEver is a pod that is not batch work.
func forEver(p *corev1.Pod) {
	delete(p.Annotations, api.GateKey)
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
}

func says(status corev1.ConditionStatus, reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: api.CapacityCondition, Status: status, Reason: reason, Message: message, LastTransitionTime: minute(1),
		})
	}
}

func lease(holder string, renewed time.Time) *coordinationv1.Lease {
	micro := metav1.NewMicroTime(renewed)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: api.LeaseName},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &micro, LeaseDurationSeconds: new(int32(15))},
	}
}

func published(annotations map[string]string, status string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: api.StatusConfigMap, Annotations: annotations},
		Data:       map[string]string{api.StatusKey: status},
	}
}
