package capacity

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// The texts stand on the user's pods, so they are part of what is promised.
func TestReasons(t *testing.T) {
	needsGPU := cpus(1)
	needsGPU.Scalar = map[corev1.ResourceName]int64{gpu: 1}
	taint := corev1.Taint{Key: "team", Effect: corev1.TaintEffectNoSchedule}
	shapeless := func(p *PoolState) { p.Shape = nil }
	for name, tc := range map[string]struct {
		in   Snapshot
		want string
	}{
		"a machine to be bought": {
			in:   snapshot(pools(poolOf("agents", 0)), nil, pod("a", 2)),
			want: "waiting for 1 machine in agents, about 80 s from purchase to ready, expected at 12:01 UTC",
		},
		"several machines, on their way and to be bought": {
			in:   snapshot(pools(poolOf("agents", 1)), nil, pod("a", 8), pod("b", 8), pod("c", 8)),
			want: "waiting for 3 machines in agents, about 80 s from purchase to ready, expected at 12:01 UTC",
		},
		"a node that is starting": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", young, notReady)), pod("a", 2)),
			want: "waiting for 1 machine in agents, about 80 s from purchase to ready, expected at 12:01 UTC",
		},
		"a rescue": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", marked)), pod("a", 2)),
			want: "node n1 is being taken back from its retirement",
		},
		"the maximum": {
			in:   snapshot(pools(poolOf("agents", 2, bounds(0, 2), running("n1", "n2"))), nil, pod("a", 2)),
			want: "agents is at its maximum of 2",
		},
		"a refusal, with the time of the next try": {
			in:   snapshot(pools(poolOf("agents", 0, away(5*time.Minute, "quota: standardDSv5Family 96/100"))), nil, pod("a", 2)),
			want: "agents: quota: standardDSv5Family 96/100, next try 12:05 UTC",
		},
		"no machine is large enough": {
			in:   snapshot(pools(poolOf("agents", 0), poolOf("big", 0, offering(machineOf(15.6)))), nil, pod("a", 96)),
			want: "requests 96 cpu; the largest machine of any pool offers 15.6 cpu",
		},
		"nobody offers a GPU": {
			in:   snapshot(pools(poolOf("agents", 0)), nil, pod("a", 1, class(classOf(needsGPU, "", nil)))),
			want: "no pool offers nvidia.com/gpu",
		},
		"no pool at all": {in: snapshot(nil, nil, pod("a", 2)), want: "there is no pool that Tidegate manages"},
		"a pool that does not exist": {
			in:   snapshot(pools(poolOf("agents", 0)), nil, pod("a", 1, class(classOf(cpus(1), "agent", nil)))),
			want: `there is no pool named "agent"`,
		},
		"a selector and a taint": {
			in: snapshot(pools(poolOf("agents", 0), poolOf("big", 0, func(p *PoolState) {
				p.Shape = &fit.Shape{Labels: map[string]string{"disk": "ssd"}, Taints: []corev1.Taint{taint}, Allocatable: machineOf(8)}
			})), nil, pod("a", 1, class(classOf(cpus(1), "", map[string]string{"disk": "ssd"})))),
			want: "agents does not match: node selector; big does not match: taint team",
		},
		"a pool that must not be managed": {
			in:   snapshot(pools(poolOf("agents", 0, refused("its orchestration mode is Flexible"))), nil, pod("a", 2)),
			want: "agents: its orchestration mode is Flexible",
		},
		"a pool of unknown machines": {
			in:   snapshot(pools(poolOf("agents", 0, shapeless)), nil, pod("a", 2)),
			want: "what a machine of agents offers is unknown: tag the scale set or start one machine by hand",
		},
		"gates of others": {
			in:   snapshot(nil, nil, pod("a", 2, othersGate)),
			want: "other scheduling gates are still on the pod",
		},
		"a gang of which pods are missing": {
			in:   snapshot(pools(poolOf("agents", 0)), nil, pod("a", 2, gang("g", 3))),
			want: "the gang waits for 2 more of its 3 pods",
		},
		"a gang that is too large for the maximum": {
			in:   snapshot(pools(poolOf("agents", 0, bounds(0, 1))), nil, pod("a", 5, gang("g", 2)), pod("b", 5, gang("g", 2))),
			want: "the gang of 2 cannot be placed together: agents is too small for all of them within its maximum of 1",
		},
		"a gang of which another pod waits for a machine": {
			in: snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1")),
				pod("a", 5, gang("g", 2)), pod("b", 5, gang("g", 2))),
			want: "waiting for 1 machine in agents, about 80 s from purchase to ready, expected at 12:01 UTC",
		},
	} {
		t.Run(name, func(t *testing.T) {
			reasons := Plan(tc.in).Reasons
			if len(reasons) == 0 {
				t.Fatal("no reason is given")
			}
			if diff := cmp.Diff(tc.want, reasons[0].Text); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
		})
	}
}
