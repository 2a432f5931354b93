package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli/layout"
)

func TestMachineStates(t *testing.T) {
	marked := api.Retirement{Reason: "no waiting pod needs it", Since: minute(1)}
	empty, fenced := marked, marked
	empty.EmptySince = new(minute(2))
	fenced.EmptySince, fenced.FencedAt = new(minute(2)), new(minute(3))
	notReady := func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "Kubelet stopped posting node status.", LastTransitionTime: minute(4)}}
	}
	for name, tc := range map[string]struct {
		node *corev1.Node
		pods []*corev1.Pod
		want Machine
	}{
		"idle":                    {node: agent(), want: Machine{State: Idle, Since: noon}},
		"busy":                    {node: agent(), pods: []*corev1.Pod{batchPod("a", on("agents000001")), batchPod("b", on("agents000002"))}, want: Machine{State: Busy, Pods: 1, Since: noon}},
		"pinned":                  {node: agent(), pods: []*corev1.Pod{batchPod("coredns", forEver, on("agents000001"))}, want: Machine{State: Busy, Pods: 1, Since: noon, Reason: "pinned by pod work/coredns, which does not end by itself"}},
		"pinned by two":           {node: agent(), pods: []*corev1.Pod{batchPod("b", forEver, on("agents000001")), batchPod("a", forEver, on("agents000001"))}, want: Machine{State: Busy, Pods: 2, Since: noon, Reason: "pinned by 2 pods that do not end by themselves, such as work/a"}},
		"outdated":                {node: agent(annotated(api.OutdatedAnnotation, "true")), want: Machine{State: Idle, Since: noon, Reason: "outdated: its machine lacks the scale set's latest model"}},
		"kept":                    {node: agent(annotated(api.KeepAnnotation, "true")), want: Machine{State: Idle, Since: noon, Reason: "kept: annotation tidegate.io/keep"}},
		"asked to go":             {node: agent(annotated(api.RetireAnnotation, "true")), want: Machine{State: Idle, Since: noon, Reason: "an operator asked to delete its machine"}},
		"asked for no known fate": {node: agent(annotated(api.RetireAnnotation, "repaint")), want: Machine{State: Idle, Since: noon, Reason: `annotation tidegate.io/retire="repaint": want "delete", "restart" or "reimage"`}},
		"off": {
			node: agent(retiring(fenced), labelled(api.RetiredLabel, "token"), annotated(api.RestartingAnnotation, api.Restart{Fate: api.FateDeallocate, VMID: "vm-1", Since: minute(3), Done: new(minute(4))}.Encode())),
			want: Machine{State: Stopped, Since: minute(4).Time, Reason: marked.Reason},
		},
		"restarting": {
			node: agent(retiring(fenced), labelled(api.RetiredLabel, "token"), annotated(api.RestartingAnnotation, api.Restart{Fate: api.FateRestart, VMID: "vm-1", Since: minute(4)}.Encode())),
			want: Machine{State: Restarting, Since: minute(4).Time, Reason: marked.Reason},
		},
		"marked with work": {node: agent(retiring(marked)), pods: []*corev1.Pod{batchPod("a", on("agents000001"))}, want: Machine{State: Retiring, Pods: 1, Since: minute(1).Time, Reason: marked.Reason}},
		"marked and empty": {node: agent(retiring(empty)), want: Machine{State: Empty, Since: minute(2).Time, Reason: marked.Reason}},
		"fenced":           {node: agent(retiring(fenced), labelled(api.RetiredLabel, "token")), want: Machine{State: Fenced, Since: minute(3).Time, Reason: marked.Reason}},
		"interrupted": {
			node: agent(retiring(fenced), labelled(api.RetiredLabel, "token"), annotated(api.InterruptionsAnnotation, `[{"id":"e1","type":"Preempt","resources":["agents_1"],"notBefore":"2026-03-01T12:00:30Z"}]`)),
			want: Machine{State: Fenced, Since: minute(3).Time, Reason: "Azure announces: Preempt, not before 12:00:30 UTC"},
		},
		"committed":          {node: agent(retiring(fenced), labelled(api.RetiredLabel, "token"), annotated(api.DeletingAnnotation, "vm-1")), want: Machine{State: Deleting, Since: minute(2).Time, Reason: marked.Reason}},
		"silent":             {node: agent(notReady), want: Machine{State: NotReady, Since: minute(4).Time, Reason: "Kubelet stopped posting node status."}},
		"silent when marked": {node: agent(notReady, retiring(marked)), pods: []*corev1.Pod{batchPod("a", on("agents000001"))}, want: Machine{State: Retiring, Pods: 1, Since: minute(1).Time, Reason: marked.Reason}},
		"never reported":     {node: agent(func(n *corev1.Node) { n.Status.Conditions = nil }), want: Machine{State: NotReady, Since: noon, Reason: "its kubelet has not reported yet"}},
		"of no pool": {
			node: agent(func(n *corev1.Node) { delete(n.Labels, api.PoolLabel); delete(n.Annotations, api.VMIDAnnotation) }),
			want: Machine{State: Outside, Since: noon, Reason: "belongs to no pool; Tidegate leaves it alone"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.want.Name = "agents000001"
			if tc.want.State != Outside {
				tc.want.Pool, tc.want.VMID = "agents", "vm-1"
			}
			c := Cluster{Now: minute(5).Time, Nodes: []corev1.Node{*tc.node}}
			for _, p := range tc.pods {
				c.Pods = append(c.Pods, *p)
			}
			if diff := cmp.Diff([]Machine{tc.want}, machines(c), cmp.Comparer(time.Time.Equal)); diff != "" {
				t.Errorf("machines (-want +got):\n%s", diff)
			}
		})
	}
}

// A volume that keeps its node is told of.
func TestMachinesWithVolumes(t *testing.T) {
	on := func(host string) []corev1.PersistentVolume {
		return []corev1.PersistentVolume{{
			ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"},
			Spec: corev1.PersistentVolumeSpec{
				ClaimRef: &corev1.ObjectReference{Namespace: "work", Name: "data"},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}},
				}}}},
			},
			Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
		}}
	}
	for name, tc := range map[string]struct {
		volumes []corev1.PersistentVolume
		want    string
	}{
		"no volume":      {},
		"another node's": {volumes: on("agents000002")},
		"its own":        {volumes: on("agents000001"), want: "kept: the data of volume pvc-1 of claim work/data are on its disk"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := machines(Cluster{Nodes: []corev1.Node{*agent()}, Volumes: tc.volumes})[0].Reason; got != tc.want {
				t.Errorf("reason %q, want %q", got, tc.want)
			}
		})
	}
}

func TestServersAreNoMachines(t *testing.T) {
	c := Cluster{Nodes: []corev1.Node{*agent(labelled("node-role.kubernetes.io/control-plane", "true"))}}
	if got := machines(c); len(got) != 0 {
		t.Errorf("machines %+v, want none", got)
	}
}

func TestWaitingPods(t *testing.T) {
	coming := says(corev1.ConditionFalse, "MachinesComing", "waiting for 3 machines")
	later := func(p *corev1.Pod) { p.CreationTimestamp = minute(1) }
	for name, tc := range map[string]struct {
		pods      []*corev1.Pod
		namespace string
		want      []string
	}{
		"at the gate":                   {pods: []*corev1.Pod{batchPod("a", gated, coming)}, want: []string{"work/a MachinesComing: waiting for 3 machines"}},
		"nothing said yet":              {pods: []*corev1.Pod{batchPod("a", gated)}, want: []string{"work/a New: Tidegate has not looked at it yet"}},
		"released and not bound":        {pods: []*corev1.Pod{batchPod("a", says(corev1.ConditionTrue, "Released", "released towards node n"))}, want: []string{"work/a Released: released towards node n"}},
		"released and bound":            {pods: []*corev1.Pod{batchPod("a", on("n"), says(corev1.ConditionTrue, "Released", "released towards node n"))}},
		"pods without a gate":           {pods: []*corev1.Pod{batchPod("a", forEver)}},
		"oldest first":                  {pods: []*corev1.Pod{batchPod("a", gated, later), batchPod("c", gated), batchPod("b", gated)}, want: []string{"work/b New: Tidegate has not looked at it yet", "work/c New: Tidegate has not looked at it yet", "work/a New: Tidegate has not looked at it yet"}},
		"not those of other namespaces": {pods: []*corev1.Pod{batchPod("a", gated)}, namespace: "play"},
	} {
		t.Run(name, func(t *testing.T) {
			var c Cluster
			for _, p := range tc.pods {
				c.Pods = append(c.Pods, *p)
			}
			var got []string
			for _, w := range waiting(c, tc.namespace) {
				got = append(got, fmt.Sprintf("%s/%s %s: %s", w.Namespace, w.Name, w.Reason, w.Message))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("waiting (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusSaysWhoLeads(t *testing.T) {
	paused := published(map[string]string{api.ObserveOnlyAnnotation: "true"}, "{}")
	for name, tc := range map[string]struct {
		cluster Cluster
		want    []string
	}{
		"nobody": {want: []string{"No Tidegate leads: is it running? See kubectl -n tidegate-server get pods"}},
		"somebody": {
			cluster: Cluster{Lease: lease("server-0_1", minute(5).Add(-3*time.Second))},
			want:    []string{"Leader: server-0_1, reported 3s ago"},
		},
		"somebody who is gone": {
			cluster: Cluster{Lease: lease("server-0_1", noon)},
			want:    []string{"No Tidegate leads: server-0_1 last reported 5m ago; see kubectl -n tidegate-server get pods"},
		},
		"paused": {
			cluster: Cluster{Lease: lease("a", minute(5).Time), Published: paused, Status: api.Status{ObserveOnly: true}},
			want:    []string{"Leader: a, reported 0s ago", "Paused: Tidegate says what it would do and does nothing; tidegate resume ends that"},
		},
		"observing by its flag": {
			cluster: Cluster{Lease: lease("a", minute(5).Time), Status: api.Status{ObserveOnly: true}},
			want:    []string{"Leader: a, reported 0s ago", "Observing only: Tidegate says what it would do and does nothing; it runs with --observe-only"},
		},
		"somebody lowers the capacity": {
			cluster: Cluster{Lease: lease("a", minute(5).Time), Status: api.Status{Pools: []api.PoolStatus{{Name: "agents", Warning: "its capacity was lowered"}}}},
			want: []string{"Leader: a, reported 0s ago", "agents: its capacity was lowered", "",
				"POOL    MACHINES  READY  MIN  MAX  BOOT  OFFERS  STATE", "agents  0         0      0    0    ?     ?       at its maximum"},
		},
		"cannot read Azure": {
			cluster: Cluster{Lease: lease("a", minute(5).Time), Status: api.Status{Problem: "list scale sets: the role is missing"}},
			want:    []string{"Leader: a, reported 0s ago", "Azure: list scale sets: the role is missing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cluster.Now = minute(5).Time
			got := lines(Status(tc.cluster, ""), tc.cluster.Now, false, layout.Style{Width: 100})
			if diff := cmp.Diff(append(tc.want, "", "No pod waits."), got); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func lines(r Report, now time.Time, wide bool, style layout.Style) []string {
	var out strings.Builder
	r.Write(&out, now, wide, style)
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// whole is a cluster with something of everything.
func whole() Cluster {
	offers := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse("108")}
	}
	c := Cluster{
		Now:   minute(5).Time,
		Lease: lease("server-0_1", minute(5).Time),
		Status: api.Status{Pools: []api.PoolStatus{
			{Name: "agents", Machines: 3, Max: 6, BootSeconds: 81, Offers: offers("7800m", "30Gi")},
			{Name: "big", Max: 2, State: "quota: standardDSv5Family 96/100"},
			{Name: "small", Machines: 1, Max: 1, BootSeconds: 30, Offers: offers("2", "512Mi")},
		}},
		Nodes: []corev1.Node{
			*agent(named("agents000002"), retiring(api.Retirement{Reason: "no waiting pod needs it", Since: minute(1), EmptySince: new(minute(4))})),
			*agent(),
		},
		Pods: []corev1.Pod{*batchPod("done-soon", on("agents000001"))},
	}
	for i := range 22 {
		c.Pods = append(c.Pods, *batchPod(fmt.Sprintf("frames-%02d", i), gated, says(corev1.ConditionFalse, "MachinesComing", "waiting for 1 machine in agents, about 80 s from purchase to ready")))
	}
	return c
}

func TestStatusText(t *testing.T) {
	c := whole()
	got := lines(Status(c, ""), c.Now, false, layout.Style{Width: 100})
	want := []string{
		"Leader: server-0_1, reported 0s ago",
		"",
		"POOL    MACHINES  READY  MIN  MAX  BOOT  OFFERS         STATE",
		"agents  3         2      0    6    80 s  7.8 cpu, 30Gi  can grow",
		"big     0         0      0    2    ?     ?              quota: standardDSv5Family 96/100",
		"small   1         0      0    1    30 s  2 cpu, 512Mi   at its maximum",
		"",
		"MACHINE       POOL    STATE  PODS  FOR  REASON",
		"agents000001  agents  Busy   1     5m",
		"agents000002  agents  Empty  0     60s  no waiting pod needs it",
		"",
		"WAITING POD     FOR  STARTS IN  REASON",
		"work/frames-00  5m   ?          waiting for 1 machine in agents, about 80 s from purchase to ready",
	}
	if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("and 2 more; -o wide lists all", got[len(got)-1]); diff != "" {
		t.Errorf("last line (-want +got):\n%s", diff)
	}
	for _, line := range got {
		if n := utf8.RuneCountInString(line); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	wide := strings.Join(lines(Status(c, ""), c.Now, true, layout.Style{}), "\n")
	for _, text := range []string{"work/frames-21", "vm-1", "108 pods"} {
		if !strings.Contains(wide, text) {
			t.Errorf("the wide text lacks %q:\n%s", text, wide)
		}
	}
}

func TestReadyCountsThePoolsNodes(t *testing.T) {
	c := whole()
	c.Nodes[0].Status.Conditions[0].Status = corev1.ConditionUnknown
	if got := Status(c, "").Pools[0].Ready; got != 1 {
		t.Errorf("%d nodes of agents are ready, want 1", got)
	}
}

func TestAges(t *testing.T) {
	if got := age(noon, metav1.NewTime(noon.Add(time.Hour)).Time); got != "0s" {
		t.Errorf("a time to come is %q ago, want 0s: clocks differ", got)
	}
}
