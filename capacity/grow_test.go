package capacity

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

func TestGrow(t *testing.T) {
	growing := func(p *PoolState) { p.Growing = true }
	unlisted := func(p *PoolState) { p.Listed = false }
	shapeless := func(p *PoolState) { p.Shape = nil }
	withGPU := machineOf(8)
	withGPU.Scalar = map[corev1.ResourceName]int64{gpu: 1}
	needsGPU := cpus(2)
	needsGPU.Scalar = map[corev1.ResourceName]int64{gpu: 1}
	gpuTaint := corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}
	waits := func(code ReasonCode, names ...string) []string {
		var lines []string
		for _, n := range names {
			lines = append(lines, n+" waits: "+string(code))
		}
		return lines
	}
	buys := func(line string, names ...string) []string {
		return append([]string{line}, waits(ReasonMachinesComing, names...)...)
	}
	scenarios{
		"the machines that are missing, in one request": {
			in:   snapshot(pools(poolOf("agents", 0)), nil, pod("a", 5), pod("b", 5), pod("c", 3)),
			want: buys("grow agents from 0 to 2", "a", "b", "c"),
		},
		"never beyond the maximum": {
			in:   snapshot(pools(poolOf("agents", 0, bounds(0, 1))), nil, pod("a", 5), pod("b", 5)),
			want: append(buys("grow agents from 0 to 1", "a"), waits(ReasonMaximum, "b")...),
		},
		"machines that are lost count towards the maximum all the same": {
			in:   snapshot(pools(poolOf("agents", 1, bounds(0, 1), running("lost"))), nil, pod("a", 5)),
			want: waits(ReasonMaximum, "a"),
		},
		"the minimum without any demand": {
			in:   snapshot(pools(poolOf("agents", 0, bounds(2, 4))), nil),
			want: []string{"grow agents from 0 to 2"},
		},
		"room for DaemonSet pods is bought too": {
			in: func() Snapshot {
				s := snapshot(pools(poolOf("agents", 0)), nil, pod("a", 4), pod("b", 4))
				s.Daemons = []*fit.Class{classOf(cpus(0.1), "", nil)}
				return s
			}(),
			want: buys("grow agents from 0 to 2", "a", "b"),
		},
		"nothing while a request is under way": {
			in:   snapshot(pools(poolOf("agents", 1, growing)), nil, pod("a", 5), pod("b", 5)),
			want: waits(ReasonMachinesComing, "a", "b"),
		},
		"nothing before the machines are known": {
			in:   snapshot(pools(poolOf("agents", 1, unlisted)), nil, pod("a", 5)),
			want: waits(ReasonMachinesComing, "a"),
		},
		"what the Job has yet to create is bought at once": {
			in: func() Snapshot {
				s := snapshot(pools(poolOf("agents", 0)), nil, pod("a", 5))
				s.Expected = []Expected{{Like: "uid-a", Count: 3}}
				return s
			}(),
			want: buys("grow agents from 0 to 4", "a"),
		},
		"no pod waits for one that is yet to be created": {
			in: func() Snapshot {
				s := snapshot(pools(poolOf("agents", 1, running("n1"), bounds(0, 1))), nodes(node("n1")), pod("a", 4), pod("b", 4, aged(0)))
				s.Expected = []Expected{{Like: "uid-a", Count: 3}}
				return s
			}(),
			want: []string{"release a to n1", "release b to n1"},
		},
		"the cheaper pool by its price": {
			in: snapshot(pools(poolOf("agents", 0, costs(0.4)), poolOf("spot", 0, costs(0.1))), nil,
				pod("a", 5), pod("b", 5)),
			want: buys("grow spot from 0 to 2", "a", "b"),
		},
		"one large machine where that is cheaper than several": {
			in: snapshot(pools(poolOf("agents", 0, costs(0.4)), poolOf("big", 0, costs(0.7), offering(machineOf(16)))), nil,
				pod("a", 5), pod("b", 5), pod("c", 5)),
			want: buys("grow big from 0 to 1", "a", "b", "c"),
		},
		"the smaller machine where there are no prices": {
			in:   snapshot(pools(poolOf("agents", 0), poolOf("a-big", 0, offering(machineOf(16)))), nil, pod("a", 5)),
			want: buys("grow agents from 0 to 1", "a"),
		},
		"no GPU for a pod that needs none": {
			in:   snapshot(pools(poolOf("a-gpu", 0, offering(withGPU)), poolOf("agents", 0, offering(machineOf(16)))), nil, pod("a", 5)),
			want: buys("grow agents from 0 to 1", "a"),
		},
		"a GPU for a pod that needs one": {
			in: snapshot(pools(poolOf("agents", 0), poolOf("gpu", 0, offering(withGPU))), nil,
				pod("a", 2, class(classOf(needsGPU, "", nil))), pod("b", 2, class(classOf(needsGPU, "", nil)))),
			want: buys("grow gpu from 0 to 2", "a", "b"),
		},
		"the pool that the pod asks for, whatever its price": {
			in: snapshot(pools(poolOf("agents", 0, costs(0.1)), poolOf("Big", 0, costs(0.7))), nil,
				pod("a", 2, class(classOf(cpus(2), "big", nil)))),
			want: buys("grow Big from 0 to 1", "a"),
		},
		"no pool whose taint the pod does not tolerate": {
			in:   snapshot(pools(poolOf("agents", 0, offering(machineOf(8), gpuTaint))), nil, pod("a", 2)),
			want: waits(ReasonNoFit, "a"),
		},
		"the next pool at once where one refused": {
			in: snapshot(pools(poolOf("agents", 0, costs(0.1), away(time.Minute, "quota")), poolOf("big", 0, costs(0.7))), nil,
				pod("a", 2)),
			want: buys("grow big from 0 to 1", "a"),
		},
		"the next pool for what is beyond a maximum": {
			in: snapshot(pools(poolOf("agents", 0, costs(0.1), bounds(0, 1)), poolOf("big", 0, costs(0.7))), nil,
				pod("a", 5), pod("b", 5)),
			want: []string{"grow agents from 0 to 1", "grow big from 0 to 1", "a waits: MachinesComing", "b waits: MachinesComing"},
		},
		"nothing while the only pool has to be left alone": {
			in:   snapshot(pools(poolOf("agents", 0, away(time.Minute, "quota"))), nil, pod("a", 2)),
			want: waits(ReasonAway, "a"),
		},
		"nothing of a pool that must not be managed, its minimum included": {
			in:   snapshot(pools(poolOf("agents", 0, bounds(1, 3), refused("it is Flexible"))), nil, pod("a", 2)),
			want: waits(ReasonNoFit, "a"),
		},
		"nobody waits for machines of a pool that must not be managed": {
			in:   snapshot(pools(poolOf("agents", 0), poolOf("vms", 5, refused("it is Flexible"))), nil, pod("a", 2)),
			want: buys("grow agents from 0 to 1", "a"),
		},
		"nothing of a pool whose machines are unknown": {
			in:   snapshot(pools(poolOf("agents", 0, shapeless)), nil, pod("a", 2)),
			want: waits(ReasonNoFit, "a"),
		},
		"nothing for a pod that no machine can hold": {
			in:   snapshot(pools(poolOf("agents", 0)), nil, pod("a", 9), pod("b", 8)),
			want: []string{"grow agents from 0 to 1", "a waits: NoPoolFits", "b waits: MachinesComing"},
		},
	}.run(t)
}

func TestGangs(t *testing.T) {
	with := func(s Snapshot, like string, count int) Snapshot {
		s.Expected = []Expected{{Like: pod(like, 1).UID, Count: count}}
		return s
	}
	one := poolOf("agents", 1, running("n1"))
	full := poolOf("agents", 1, running("n1"), bounds(0, 1))
	scenarios{
		"all of it is released together": {
			in:   snapshot(pools(one), nodes(node("n1")), pod("a", 4, gang("g", 2)), pod("b", 4, gang("g", 2))),
			want: []string{"release a to n1", "release b to n1"},
		},
		"none is released while one waits for a machine": {
			in:   snapshot(pools(one), nodes(node("n1")), pod("a", 5, gang("g", 2)), pod("b", 5, gang("g", 2))),
			want: []string{"grow agents from 1 to 2", "a waits: MachinesComing", "b waits: MachinesComing"},
		},
		"none is released and nothing is bought while it cannot be placed whole": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"), bounds(0, 2))), nodes(node("n1")), pod("a", 5, gang("g", 3)), pod("b", 5, gang("g", 3)), pod("c", 5, gang("g", 3))),
			want: []string{"mark n1", "a waits: PoolAtMaximum", "b waits: PoolAtMaximum", "c waits: PoolAtMaximum"},
		},
		"a gang that cannot be placed blocks no younger pod": {
			in:   snapshot(pools(full), nodes(node("n1")), pod("a", 5, gang("g", 2)), pod("b", 5, gang("g", 2)), pod("c", 5)),
			want: []string{"release c to n1", "a waits: PoolAtMaximum", "b waits: PoolAtMaximum"},
		},
		"nor one that has to be in the zone of others": {
			in: snapshot(pools(full), nodes(node("n1", labelled(corev1.LabelTopologyZone, "west-1"))),
				pod("a", 5, together, gang("g", 2)), pod("b", 5, together, gang("g", 2)), pod("c", 5, together)),
			want: []string{"release c to n1", "a waits: PoolAtMaximum", "b waits: PoolAtMaximum"},
		},
		"the room that a gang holds is not given to a younger pod": {
			in: snapshot(pools(one), nodes(node("n1")), pod("a", 5, gang("g", 2)), pod("b", 5, gang("g", 2)),
				pod("c", 5, aged(0))),
			want: []string{"grow agents from 1 to 3", "a waits: MachinesComing", "b waits: MachinesComing", "c waits: MachinesComing"},
		},
		"none is released while a member is missing, nor bought for": {
			in:   snapshot(pools(one), nodes(node("n1")), pod("a", 5, gang("g", 3)), pod("b", 5, gang("g", 3))),
			want: []string{"mark n1", "a waits: GangIncomplete", "b waits: GangIncomplete"},
		},
		"a member behind gates of others is missing": {
			in:   snapshot(pools(one), nodes(node("n1")), pod("a", 2, gang("g", 2)), pod("b", 2, gang("g", 2), othersGate)),
			want: []string{"mark n1", "a waits: GangIncomplete", "b waits: OtherGates"},
		},
		"all of it is bought for as soon as its Job is about to create it": {
			in:   with(snapshot(pools(one), nodes(node("n1")), pod("a", 5, gang("g", 3))), "a", 2),
			want: []string{"grow agents from 1 to 3", "a waits: MachinesComing"},
		},
		"room for all is there, but not all of it": {
			in:   with(snapshot(pools(one), nodes(node("n1")), pod("a", 2, gang("g", 3))), "a", 2),
			want: []string{"a waits: GangIncomplete"},
		},
		"members that run count as present": {
			in:   snapshot(pools(full), nodes(node("n1")), pod("a", 2, gang("g", 2), on("n1")), pod("b", 2, gang("g", 2))),
			want: []string{"release b to n1"},
		},
		"pods that its Job will create beyond the gang's size are not waited for": {
			in:   with(snapshot(pools(full), nodes(node("n1")), pod("a", 4, gang("g", 2)), pod("b", 4, gang("g", 2))), "a", 2),
			want: []string{"release a to n1", "release b to n1"},
		},
		"a half released gang goes on": {
			in:   snapshot(pools(full), nodes(node("n1")), pod("a", 2, gang("g", 2), released("n1")), pod("b", 2, gang("g", 2))),
			want: []string{"release b to n1"},
		},
		"gangs of the same name in two namespaces are two": {
			in: snapshot(pools(full), nodes(node("n1")), pod("a", 2, gang("g", 2)),
				pod("b", 2, gang("g", 2), func(p *Pod) { p.Key.Namespace = "other" })),
			want: []string{"mark n1", "b waits: GangIncomplete", "a waits: GangIncomplete"},
		},
		"a mark is taken back for a gang, and all wait for it": {
			in: snapshot(pools(poolOf("agents", 2, running("n1", "n2"), bounds(0, 2))), nodes(node("n1"), node("n2", marked)),
				pod("a", 5, gang("g", 2)), pod("b", 5, gang("g", 2))),
			want: []string{"unmark n2 as a rescue", "a waits: NodeTakenBack", "b waits: NodeTakenBack"},
		},
	}.run(t)
}
