package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli/layout"
)

func TestExplainWhereThePodStands(t *testing.T) {
	others := func(p *corev1.Pod) {
		p.Spec.SchedulingGates = append(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: "kueue.x-k8s.io/admission"})
	}
	phase := func(phase corev1.PodPhase) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.Phase = phase }
	}
	for name, tc := range map[string]struct {
		pod            *corev1.Pod
		headline, next string
	}{
		"at the gate":              {batchPod("a", gated, says(corev1.ConditionFalse, "PoolAtMaximum", "agents is at its maximum of 1")), "waits at the gate for 5m", ""},
		"not looked at yet":        {batchPod("a", gated), "waits at the gate for 5m", "Tidegate has not looked at it yet: tidegate status says whether it runs"},
		"others' gates too":        {batchPod("a", gated, others), "waits behind gates of others: kueue.x-k8s.io/admission", "whoever set them has to remove them; until then no machine is bought for it"},
		"others' gates only":       {batchPod("a", others), "waits behind gates of others: kueue.x-k8s.io/admission", "Tidegate's gate is not among them"},
		"released, not bound":      {batchPod("a", says(corev1.ConditionTrue, "Released", "released towards node n")), "was let through the gate 4m ago and is not bound yet", "kubectl describe pod shows what the scheduler says"},
		"bound":                    {batchPod("a", on("agents000001"), says(corev1.ConditionTrue, "Released", "released towards node n")), "is on node agents000001", ""},
		"succeeded":                {batchPod("a", on("agents000001"), phase(corev1.PodSucceeded)), "has succeeded", ""},
		"failed":                   {batchPod("a", on("agents000001"), phase(corev1.PodFailed)), "has failed", "kubectl describe pod says how"},
		"never at Tidegate's gate": {batchPod("a", forEver), "never was at the gate", `to have machines bought for such pods, set the annotation tidegate.io/gate: "true" on the pod template`},
	} {
		t.Run(name, func(t *testing.T) {
			e := Explain(Story{Now: minute(5).Time, Pod: tc.pod})
			if diff := cmp.Diff([]string{tc.headline, tc.next}, []string{e.Headline, e.Next}); diff != "" {
				t.Errorf("headline and next (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplainText(t *testing.T) {
	pod := batchPod("frames-0", gated, says(corev1.ConditionFalse, "MachinesComing", "waiting for 3 machines in agents, about 80 s from purchase to ready"), func(p *corev1.Pod) {
		p.Annotations[api.PoolAnnotation] = "agents"
		p.Annotations[api.AllOrNothingAnnotation] = "true"
		p.Annotations[api.ExpectedDurationAnnotation] = "soon"
		p.Annotations[api.MaxWaitAnnotation] = "2h"
		p.Spec.Containers[0].Resources.Requests["nvidia.com/gpu"] = resource.MustParse("1")
	})
	events := []corev1.Event{
		{Reason: "MachinesComing", Message: "waiting for 3 machines", LastTimestamp: minute(2), Count: 3},
		{Reason: "PoolAtMaximum", Message: "agents is at its maximum", EventTime: metav1.NewMicroTime(minute(1).Time)},
	}
	var out strings.Builder
	Explain(Story{Now: minute(5).Time, Pod: pod, Events: events, Status: whole().Status}).Write(&out, minute(5).Time, layout.Style{Width: 100})
	want := []string{
		"Pod work/frames-0 waits at the gate for 5m.",
		"",
		"Why             waiting for 3 machines in agents, about 80 s from purchase to ready (MachinesComing)",
		"Requests        2 cpu, 4Gi memory, 1 nvidia.com/gpu",
		"Pools           agents: it is not known what its machines offer",
		"                big: the pod asks for another pool",
		"                small: the pod asks for another pool",
		"Wishes          only machines of pool agents",
		"                starts together with the other pods of its Job",
		"                waits at most 2h0m0s, then goes to the ordinary queue",
		`Not understood  annotation tidegate.io/expected-duration="soon": want a positive duration such as`,
		`                "90s" or "2h30m", the value is ignored`,
		"",
		"WHEN    WHAT HAPPENED",
		"5m ago  created",
		"4m ago  PoolAtMaximum: agents is at its maximum",
		"3m ago  MachinesComing: waiting for 3 machines (3 times)",
		"",
	}
	if diff := cmp.Diff(want, strings.Split(out.String(), "\n")); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestExplainNeverCountsForEver(t *testing.T) {
	pod := batchPod("huge", gated, func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("1e999999")
	})
	if got := Explain(Story{Now: noon, Pod: pod}).Asks; got != "more cpu than can be counted" {
		t.Errorf("asks %q", got)
	}
}

func TestJudge(t *testing.T) {
	pool := func(change func(*api.PoolStatus)) api.PoolStatus {
		p := whole().Status.Pools[0]
		p.Node = &api.NodeShape{Labels: map[string]string{"disk": "fast"}}
		change(&p)
		return p
	}
	for name, tc := range map[string]struct {
		pod  func(*corev1.Pod)
		pool func(*api.PoolStatus)
		want string
	}{
		"holds it":      {want: "a new machine would hold it"},
		"holds it soon": {pool: func(p *api.PoolStatus) { p.State = "quota" }, want: "a new machine would hold it, but: quota"},
		"too small": {
			pod: func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("9")
			},
			want: "the pod requests 9 cpu, a machine offers 7.8 cpu",
		},
		"another pool":   {pod: func(p *corev1.Pod) { p.Annotations[api.PoolAnnotation] = "big" }, want: "the pod asks for another pool"},
		"this very pool": {pod: func(p *corev1.Pod) { p.Annotations[api.PoolAnnotation] = "Agents" }, want: "a new machine would hold it"},
		"a selector":     {pod: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "slow"} }, want: "node selector keeps the pod off"},
		"a taint": {
			pool: func(p *api.PoolStatus) {
				p.Node.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
			},
			want: "taint gpu keeps the pod off",
		},
		"unknown": {pool: func(p *api.PoolStatus) { p.Node = nil }, want: "it is not known what its machines offer"},
	} {
		t.Run(name, func(t *testing.T) {
			nothing := func(*corev1.Pod) {}
			if tc.pod == nil {
				tc.pod = nothing
			}
			if tc.pool == nil {
				tc.pool = func(*api.PoolStatus) {}
			}
			got := judge(batchPod("a", gated, tc.pod), []api.PoolStatus{pool(tc.pool)})
			if len(got) != 1 || !strings.HasPrefix(got[0], "agents: ") || !strings.Contains(got[0], tc.want) {
				t.Errorf("verdicts %q, want %q of agents", got, tc.want)
			}
		})
	}
}

func TestReadStory(t *testing.T) {
	pod := batchPod("a", gated)
	mine := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "work", Name: "a.1"}, InvolvedObject: corev1.ObjectReference{UID: pod.UID}, Reason: "Wait"}
	client := fake.NewClientset([]runtime.Object{pod, mine, published(nil, `{"pools":[{"name":"agents"}]}`)}...)
	now := func() time.Time { return noon }
	got, err := ReadStory(t.Context(), client, "work", "a", now)
	if err != nil || got.Pod.Name != "a" || len(got.Events) != 1 || len(got.Status.Pools) != 1 || got.Now != noon {
		t.Errorf("story %+v, error %v", got, err)
	}
	if _, err := ReadStory(t.Context(), client, "play", "a", now); err == nil || !strings.Contains(err.Error(), "name another with --namespace") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}
