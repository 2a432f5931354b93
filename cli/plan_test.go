package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/cli/layout"
)

func TestPlanText(t *testing.T) {
	pod := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "work", Name: name} }
	for name, tc := range map[string]struct {
		decision capacity.Decision
		want     []string
	}{
		"nothing": {want: []string{"Tidegate would do nothing now."}},
		"something of everything": {
			decision: capacity.Decision{
				Grows:       []capacity.Grow{{Pool: "agents", From: 1, To: 3, Why: "9 pods"}, {Pool: "big", From: 0, To: 1, Why: "1 pod"}},
				Releases:    []capacity.Release{{Pod: pod("a"), Node: "agents000001"}, {Pod: pod("b"), Why: "it waited for 1h"}},
				Evictions:   []capacity.Eviction{{Pod: pod("c"), Node: "agents000002", Why: "Azure takes it"}, {Pod: pod("d"), Node: "agents000003"}},
				Steps:       []capacity.Step{{Node: "agents000004", Kind: capacity.StepMark, Why: "no waiting pod needs it"}},
				Protections: []capacity.Protection{{Pool: "agents", Instance: capacity.Instance{ID: "7"}, Protect: true}, {Pool: "big", Instance: capacity.Instance{ID: "8"}}},
				Repairs: []capacity.Repair{
					{Pool: "agents", Instance: capacity.Instance{ID: "5"}, Why: "it has not joined"}, {Pool: "agents", Instance: capacity.Instance{ID: "6"}, Report: true},
				},
				Approvals: []capacity.Approval{{Node: "agents000002"}},
				Reasons: []capacity.Reason{
					{Pod: pod("y"), Code: capacity.ReasonMaximum, Text: "agents is at its maximum of 3"},
					{Pod: pod("x"), Code: capacity.ReasonMachinesComing, Text: "waiting for 2 machines in agents", Expected: noon.Add(80 * time.Second)},
				},
			},
			want: []string{
				"Tidegate would do this now; nothing was done.",
				"",
				"DO         WHAT                          WHY",
				"buy        2 machines in agents, 1 to 3  9 pods",
				"buy        1 machine in big, 0 to 1      1 pod",
				"release    pod work/a                    towards node agents000001",
				"release    pod work/b                    without room: it waited for 1h",
				"evict      pod work/c                    node agents000002: Azure takes it",
				"evict      pod work/d                    node agents000003",
				"mark       node agents000004             no waiting pod needs it",
				"give up    machine 5 of agents           it has not joined",
				"report     machine 6 of agents",
				"protect    machine 7 of agents           it has work",
				"unprotect  machine 8 of big              it has no work",
				"approve    node agents000002             an interruption need not wait",
				"",
				"WOULD WAIT  STARTS IN  REASON",
				"work/x      80 s       waiting for 2 machines in agents",
				"work/y      ?          agents is at its maximum of 3",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			NewPlan(tc.decision).Write(&out, noon, layout.Style{Width: 100})
			if diff := cmp.Diff(tc.want, strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

// The plan is the leader's: a pod at the gate has a machine bought for it, and
// is expected when that boots.
func TestPlanOfACluster(t *testing.T) {
	basis := `{"Pools":[{"Name":"agents","Capacity":0,"Settings":{"Max":6},"Listed":true,"BootTime":80000000000,
		"Shape":{"Allocatable":{"MilliCPU":8000,"Memory":34359738368,"Pods":110}}}]}`
	configMap := published(nil, "{}")
	configMap.Data[api.BasisKey] = basis
	c := Cluster{Now: minute(5).Time, Published: configMap, Pods: []corev1.Pod{*batchPod("frames-0", gated)}}
	decision, err := c.Decision()
	if err != nil {
		t.Fatal(err)
	}
	plan := NewPlan(decision)
	if len(plan.Actions) != 1 || plan.Actions[0].Do != "buy" || plan.Actions[0].What != "1 machine in agents, 0 to 1" {
		t.Errorf("actions %+v, want one machine of agents bought", plan.Actions)
	}
	for name, tc := range map[string]struct {
		change func(*Cluster)
		want   *time.Time
	}{
		"as planned":           {func(*Cluster) {}, new(minute(5).Add(80 * time.Second))},
		"not while paused":     {func(c *Cluster) { c.Status.ObserveOnly = true }, nil},
		"not without a leader": {func(c *Cluster) { c.Published = nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			tc.change(&c)
			if diff := cmp.Diff(tc.want, Status(c, "").Waiting[0].Expected); diff != "" {
				t.Errorf("expected (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanWithoutALeader(t *testing.T) {
	for name, tc := range map[string]struct {
		cluster Cluster
		want    string
	}{
		"nothing published":  {Cluster{}, "it takes a leader"},
		"by an older leader": {Cluster{Published: published(nil, "{}")}, "it takes a leader"},
		"by another version": {Cluster{Published: &corev1.ConfigMap{Data: map[string]string{api.BasisKey: "[]"}}}, "of another version"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tc.cluster.Decision(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that says %q", err, tc.want)
			}
		})
	}
}

func TestLongPlansAreCut(t *testing.T) {
	var d capacity.Decision
	for range 23 {
		d.Releases = append(d.Releases, capacity.Release{Node: "n"})
		d.Reasons = append(d.Reasons, capacity.Reason{Text: "why"})
	}
	var out strings.Builder
	NewPlan(d).Write(&out, noon, layout.Style{Width: 100})
	if got := strings.Count(out.String(), "and 3 more; -o json lists all\n"); got != 2 {
		t.Errorf("says %d times that 3 more are left out, want for actions and for pods:\n%s", got, out.String())
	}
}
