package webhook

import (
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tidegate-k3s/tidegate/api"
)

func TestPodsAreGated(t *testing.T) {
	const foreign = "kueue.x-k8s.io/admission"
	for name, tc := range map[string]struct {
		path      string
		namespace string
		pod       *corev1.Pod
		want      []string // the gates that are stored
	}{
		"opted in":                            {pod: podSaying("true"), want: []string{api.CapacityGate}},
		"opted out":                           {pod: podSaying("false")},
		"nothing said":                        {pod: podSaying("")},
		"unclear":                             {pod: podSaying("yes")},
		"another's gate stays":                {pod: gated(podSaying("true"), foreign), want: []string{foreign, api.CapacityGate}},
		"already gated":                       {pod: gated(podSaying("true"), api.CapacityGate, foreign), want: []string{api.CapacityGate, foreign}},
		"names its node":                      {pod: onNode(podSaying("true"))},
		"a DaemonSet's":                       {pod: ownedBy(podSaying("true"), "apps/v1", "DaemonSet")},
		"a mirror pod":                        {pod: mirror(podSaying("true"))},
		"in kube-system":                      {namespace: "kube-system", pod: podSaying("true")},
		"in Tidegate's own namespace":         {namespace: api.Namespace, pod: podSaying("true")},
		"by namespace: a Job's":               {path: MutatePodsByNamespacePath, pod: jobPod(""), want: []string{api.CapacityGate}},
		"by namespace: a Job's that opts out": {path: MutatePodsByNamespacePath, pod: jobPod("false")},
		"by namespace: a Job's, unclear":      {path: MutatePodsByNamespacePath, pod: jobPod("yes"), want: []string{api.CapacityGate}},
		"by namespace: nobody's":              {path: MutatePodsByNamespacePath, pod: podSaying("")},
		"by namespace: nobody's, opted in":    {path: MutatePodsByNamespacePath, pod: podSaying("true"), want: []string{api.CapacityGate}},
		"by namespace: another kind of Job":   {path: MutatePodsByNamespacePath, pod: ownedBy(podSaying(""), "batch.volcano.sh/v1alpha1", "Job")},
		"a Job's without namespace opt-in":    {pod: jobPod("")},
	} {
		t.Run(name, func(t *testing.T) {
			path, namespace := tc.path, tc.namespace
			if path == "" {
				path = MutatePodsPath
			}
			if namespace == "" {
				namespace = "default"
			}
			handler := Handlers(noStatus)[path]
			stored, _ := submit(t, handler, "pods", namespace, tc.pod)
			diff(t, "gates", tc.want, gates(stored))
			again, _ := submit(t, handler, "pods", namespace, stored)
			diff(t, "gates when admitted twice", tc.want, gates(again))
		})
	}
}

// A field that this build does not know is not lost.
func TestUnknownFieldsStay(t *testing.T) {
	pod := map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{api.GateKey: "true"}},
		"spec":     map[string]any{"fromTheFuture": "kept"},
	}
	stored, _ := submit(t, Handlers(noStatus)[MutatePodsPath], "pods", "default", pod)
	diff(t, "spec", map[string]any{
		"fromTheFuture":   "kept",
		"schedulingGates": []any{map[string]any{"name": api.CapacityGate}},
	}, stored["spec"].(map[string]any))
}

func TestOnlyTheCreationOfAPodIsTouched(t *testing.T) {
	raw, err := json.Marshal(podSaying("true"))
	if err != nil {
		t.Fatal(err)
	}
	for name, request := range map[string]admissionv1.AdmissionRequest{
		"update":       {Operation: admissionv1.Update, Resource: metav1.GroupVersionResource{Resource: "pods"}},
		"subresource":  {Operation: admissionv1.Create, Resource: metav1.GroupVersionResource{Resource: "pods"}, SubResource: "binding"},
		"another kind": {Operation: admissionv1.Create, Resource: metav1.GroupVersionResource{Resource: "podtemplates"}},
	} {
		t.Run(name, func(t *testing.T) {
			request.Object = runtime.RawExtension{Raw: raw}
			got := send(t, Handlers(noStatus)[MutatePodsPath], request)
			if !got.Allowed || len(got.Patch) > 0 {
				t.Errorf("answered %+v, want the request admitted as it is", got)
			}
		})
	}
}

// An object that this build cannot decode is admitted, and the submitter told.
func TestUnreadablePodIsAdmitted(t *testing.T) {
	stored, warnings := submit(t, Handlers(noStatus)[MutatePodsPath], "pods", "default", map[string]any{"spec": "one day a string"})
	diff(t, "object", map[string]any{"spec": "one day a string"}, stored)
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "Tidegate cannot read this object and leaves it as it is: ") {
		t.Errorf("warnings %q, want one that says so", warnings)
	}
}

func TestPodWarnings(t *testing.T) {
	pod := podSaying("true")
	pod.Annotations[api.MaxWaitAnnotation] = "soon"
	pod.Spec.Containers[0].Resources.Requests = offers("96", "1Gi", "")
	_, warnings := submit(t, Handlers(publishes(agents, big))[MutatePodsPath], "pods", "default", pod)
	diff(t, "warnings", []string{
		`annotation tidegate.io/max-wait="soon": want a positive duration such as "90s" or "2h30m", the value is ignored`,
		"requests 96 cpu; the largest machine of any pool offers 15.6",
	}, warnings)

	_, warnings = submit(t, Handlers(publishes(agents, big))[MutatePodsPath], "pods", "default", podSaying("yes"))
	diff(t, "warnings", []string{`annotation tidegate.io/gate="yes": want "true" or "false", the value is ignored`}, warnings)
}

func podSaying(gate string) *corev1.Pod {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}}}
	if gate != "" {
		pod.Annotations = map[string]string{api.GateKey: gate}
	}
	return pod
}

func jobPod(gate string) *corev1.Pod { return ownedBy(podSaying(gate), "batch/v1", "Job") }

func gated(pod *corev1.Pod, names ...string) *corev1.Pod {
	for _, name := range names {
		pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: name})
	}
	return pod
}

func onNode(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.NodeName = "node"
	return pod
}

func mirror(pod *corev1.Pod) *corev1.Pod {
	pod.Annotations[corev1.MirrorPodAnnotationKey] = "hash"
	return pod
}

func ownedBy(pod *corev1.Pod, apiVersion, kind string) *corev1.Pod {
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: "owner", Controller: new(true)}}
	return pod
}

func gates(pod *corev1.Pod) []string {
	var names []string
	for _, gate := range pod.Spec.SchedulingGates {
		names = append(names, gate.Name)
	}
	return names
}
