package extender

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestScores(t *testing.T) {
	in := func(d time.Duration) Outlook { return Outlook{End: noon.Add(d)} }
	permanent, pinned := Outlook{Stay: Permanent, End: noon}, Outlook{Stay: Pinned, End: noon}
	full := func(o Outlook, requested float64) Outlook { o.Requested = requested; return o }

	for name, tc := range map[string]struct {
		nodes []Outlook
		batch bool
		want  []int64
	}{
		"no node":                               {nodes: nil, want: []int64{}},
		"one node":                              {nodes: []Outlook{in(0)}, want: []int64{10}},
		"long-lived: permanent before pinned":   {nodes: []Outlook{pinned, permanent}, want: []int64{0, 10}},
		"long-lived: pinned before a long end":  {nodes: []Outlook{in(240 * time.Hour), pinned}, want: []int64{0, 10}},
		"batch: pinned before permanent":        {nodes: []Outlook{pinned, permanent}, batch: true, want: []int64{10, 0}},
		"batch: permanent before a long end":    {nodes: []Outlook{in(240 * time.Hour), permanent}, batch: true, want: []int64{0, 10}},
		"the latest end first":                  {nodes: []Outlook{in(time.Minute), in(time.Hour), in(0)}, batch: true, want: []int64{4, 10, 0}},
		"equal ends: the fuller first":          {nodes: []Outlook{full(in(0), 0.2), full(in(0), 0.7)}, want: []int64{0, 10}},
		"a later end beats a fuller node":       {nodes: []Outlook{full(in(time.Minute), 0.9), in(time.Hour)}, want: []int64{0, 10}},
		"an outdated one last of all":           {nodes: []Outlook{{Stay: Outdated, End: noon.Add(time.Hour)}, in(0)}, batch: true, want: []int64{0, 10}},
		"long-lived: outdated last of all":      {nodes: []Outlook{{Stay: Outdated, End: noon.Add(time.Hour)}, in(0), pinned}, want: []int64{0, 4, 10}},
		"equals share the better rank":          {nodes: []Outlook{in(0), in(time.Hour), in(0)}, want: []int64{4, 10, 4}},
		"nothing to choose: all alike, all ten": {nodes: []Outlook{in(0), in(0)}, want: []int64{10, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Scores(tc.nodes, tc.batch)); diff != "" {
				t.Errorf("scores (-want +got):\n%s", diff)
			}
		})
	}
}

// Of many nodes the best ones must still differ: one of them is chosen.
func TestScoresTellTheBestOfManyApart(t *testing.T) {
	nodes := make([]Outlook, 1000)
	for i := range nodes {
		nodes[i].End = noon.Add(time.Duration(i) * time.Second)
	}
	scores := Scores(nodes, true)
	got := []int64{scores[999], scores[998], scores[996], scores[990], scores[0]}
	if diff := cmp.Diff([]int64{10, 9, 8, 7, 0}, got); diff != "" {
		t.Errorf("scores of ranks 1, 2, 4, 10 and 1000 (-want +got):\n%s", diff)
	}
}

func TestOutlookOf(t *testing.T) {
	outsidePool := newNode("server")
	outsidePool.Labels = nil
	kept := newNode("kept")
	kept.Annotations = map[string]string{api.KeepAnnotation: "true"}

	outdated := newNode("outdated")
	outdated.Annotations = map[string]string{api.OutdatedAnnotation: "true"}
	outdatedAndKept := newNode("outdated-and-kept")
	outdatedAndKept.Annotations = map[string]string{api.OutdatedAnnotation: "true", api.KeepAnnotation: "true"}

	started := func(p *corev1.Pod, ago time.Duration) *corev1.Pod {
		p.Status.StartTime = &metav1.Time{Time: noon.Add(-ago)}
		return p
	}
	finished := ownedBy(newPod("done"), "batch/v1", "Job")
	finished.Status.Phase = corev1.PodSucceeded
	mirror := newPod("static")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	hinted := started(ownedBy(newPod("hinted"), "batch/v1", "Job"), 10*time.Minute)
	hinted.Annotations = map[string]string{api.ExpectedDurationAnnotation: "1h"}
	overdue := started(ownedBy(newPod("overdue"), "batch/v1", "Job"), 2*time.Hour)
	overdue.Annotations = map[string]string{api.ExpectedDurationAnnotation: "1h"}
	deadline := started(newPod("deadline"), 0)
	deadline.Spec.ActiveDeadlineSeconds = new(int64(90))
	unknown := started(ownedBy(newPod("unknown"), "batch/v1", "Job"), 7*time.Minute)

	for name, tc := range map[string]struct {
		node *corev1.Node
		pods []*corev1.Pod
		want Outlook
	}{
		"empty":                          {node: newNode("n"), want: Outlook{Stay: Leaves, End: noon}},
		"outside every pool":             {node: outsidePool, pods: []*corev1.Pod{hinted}, want: Outlook{Stay: Permanent, End: noon, Requested: 0.25}},
		"kept by an annotation":          {node: kept, want: Outlook{Stay: Permanent, End: noon}},
		"outdated, whatever it carries":  {node: outdated, pods: []*corev1.Pod{hinted, newPod("web")}, want: Outlook{Stay: Outdated, End: noon.Add(50 * time.Minute), Requested: 0.5}},
		"outdated and kept":              {node: outdatedAndKept, want: Outlook{Stay: Permanent, End: noon}},
		"a long-lived pod pins":          {node: newNode("n"), pods: []*corev1.Pod{newPod("web")}, want: Outlook{Stay: Pinned, End: noon, Requested: 0.25}},
		"a DaemonSet's pod does not pin": {node: newNode("n"), pods: []*corev1.Pod{ownedBy(newPod("lb"), "apps/v1", "DaemonSet")}, want: Outlook{Stay: Leaves, End: noon, Requested: 0.25}},
		"a mirror pod does not pin":      {node: newNode("n"), pods: []*corev1.Pod{mirror}, want: Outlook{Stay: Leaves, End: noon, Requested: 0.25}},
		"a finished pod is nothing":      {node: newNode("n"), pods: []*corev1.Pod{finished}, want: Outlook{Stay: Leaves, End: noon}},
		"hinted end":                     {node: newNode("n"), pods: []*corev1.Pod{hinted}, want: Outlook{Stay: Leaves, End: noon.Add(50 * time.Minute), Requested: 0.25}},
		"past its hint: halfway":         {node: newNode("n"), pods: []*corev1.Pod{overdue}, want: Outlook{Stay: Leaves, End: noon.Add(2 * time.Hour), Requested: 0.25}},
		"end by deadline":                {node: newNode("n"), pods: []*corev1.Pod{deadline}, want: Outlook{Stay: Leaves, End: noon.Add(90 * time.Second), Requested: 0.25}},
		"unknown end: halfway":           {node: newNode("n"), pods: []*corev1.Pod{unknown}, want: Outlook{Stay: Leaves, End: noon.Add(7 * time.Minute), Requested: 0.25}},
		"the last end counts":            {node: newNode("n"), pods: []*corev1.Pod{hinted, unknown}, want: Outlook{Stay: Leaves, End: noon.Add(50 * time.Minute), Requested: 0.5}},
	} {
		t.Run(name, func(t *testing.T) {
			var tenants Tenants
			for _, pod := range tc.pods {
				tenants.OnAdd(bound(pod, tc.node.Name), false)
			}
			if diff := cmp.Diff(tc.want, outlookOf(tc.node, tenants.byNode[tc.node.Name], noon)); diff != "" {
				t.Errorf("outlook (-want +got):\n%s", diff)
			}
		})
	}
}

// newNode is a node of the pool "agents" with 4 cpu and 16Gi.
func newNode(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{api.PoolLabel: "agents"}},
		Status:     corev1.NodeStatus{Allocatable: resources("4", "16Gi")},
	}
}

// newPod is a pod that requests 1 cpu and 1Gi, owned by nobody.
func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways,
			Containers:    []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: resources("1", "1Gi")}}},
		},
	}
}

func ownedBy(pod *corev1.Pod, apiVersion, kind string) *corev1.Pod {
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: "owner", Controller: new(true)}}
	return pod
}

func resources(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}
