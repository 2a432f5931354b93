package capacity

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// dice makes choices from bytes; once they are used up it always says 0.
type dice struct{ bytes []byte }

func (d *dice) roll(n int) int {
	if len(d.bytes) == 0 {
		return 0
	}
	b := d.bytes[0]
	d.bytes = d.bytes[1:]
	return int(b) % n
}

func (d *dice) often() bool  { return d.roll(4) != 0 }
func (d *dice) rarely() bool { return d.roll(8) == 7 }

func pick[T any](d *dice, from ...T) T { return from[d.roll(len(from))] }

// anySnapshot makes a snapshot, likely or not, from the dice.
func anySnapshot(d *dice) Snapshot {
	s := Snapshot{Now: now, Settle: settle, Limits: Limits{Machines: d.roll(3) * 4, HourlyPrice: float64(d.roll(3) * 4)}}
	for i := range d.roll(4) {
		s.Pools = append(s.Pools, anyPool(d, fmt.Sprintf("pool%d", i)))
	}
	for i := range d.roll(12) {
		n := anyNode(d, &s, fmt.Sprintf("n%02d", i))
		s.Nodes = append(s.Nodes, &n)
	}
	var pods []Pod
	for i := range d.roll(24) {
		pods = append(pods, anyPod(d, &s, fmt.Sprintf("p%02d", i)))
	}
	s.SetPods(pointers(pods))
	for range d.roll(3) {
		s.Expected = append(s.Expected, Expected{Like: types.UID(fmt.Sprintf("uid-p%02d", d.roll(24))), Count: d.roll(5)})
	}
	for range d.roll(3) {
		s.Daemons = append(s.Daemons, anyClass(d, 0.25))
	}
	return s
}

func anyPool(d *dice, name string) PoolState {
	low := d.roll(3)
	p := poolOf(name, d.roll(5), bounds(low, low+d.roll(5)))
	p.Settings.PricePerHour = float64(d.roll(3))
	p.Growing, p.Listed = d.rarely(), !d.rarely()
	p.Spot, p.Settings.Buffer.Machines, p.Settings.Buffer.Percent = d.rarely(), d.roll(2)*d.roll(2), d.roll(2)*30
	p.Settings.MaxSurge.Machines, p.Settings.Deallocate = d.roll(3), d.often()
	if d.rarely() {
		headroom := d.roll(4)
		p.Headroom, p.Family, p.VCPUs = &headroom, pick(d, "", "D"), pick(d, 0, 8)
	}
	if zone := pick(d, "", "west-1", "west-2"); zone != "" {
		p.Shape.Labels[corev1.LabelTopologyZone] = zone
		p.Zones = pick(d, nil, []string{zone}, []string{"west-1", "west-2", "west-3"})
	}
	if d.rarely() {
		p.Refused = "it is Flexible"
	}
	if d.rarely() {
		p.AwayUntil, p.AwayReason = now.Add(time.Minute), "quota"
	}
	p.Shape.Allocatable = anySize(d, 4, 8, 16)
	if d.rarely() {
		p.Shape = nil
	}
	for i := range d.roll(3) {
		vm := instance(fmt.Sprintf("%s-%d", name, i))
		vm.State = pick(d, InstanceRunning, InstanceCreating, InstanceStopped, InstanceDeleting, InstanceFailed)
		vm.Created = now.Add(-pick(d, time.Minute, time.Hour))
		p.Instances = append(p.Instances, vm)
	}
	return p
}

func anyNode(d *dice, s *Snapshot, name string) Node {
	n := node(name)
	n.Pool = pick(d, "pool0", "pool1", "POOL0", "pool9", "")
	n.Ready = d.often()
	n.Allocatable = anySize(d, 4, 8)
	n.Created = now.Add(-pick(d, time.Hour, time.Minute))
	server := func(n *Node) { n.Server, n.Keep = d.rarely(), "label control-plane" }
	for _, change := range []func(*Node){server, keep, requested, unmapped, notAdopted, state(InstanceDeleting), state(InstanceStopped), oldModel, held(time.Minute), outside,
		tainted(corev1.Taint{Key: "team", Effect: corev1.TaintEffectNoSchedule})} {
		if d.rarely() {
			change(&n)
		}
	}
	switch d.roll(8) {
	case 1:
		marked(&n)
	case 2:
		emptyFor(pick(d, time.Minute, time.Hour))(&n)
	case 3, 4:
		fencedAfter(pick(d, time.Minute, time.Hour))(&n)
		pick(d, proved(time.Hour), proved(time.Second), proving(time.Second), proving(time.Hour))(&n)
	case 5:
		committed(&n)
	case 6:
		off(&n)
		n.Instance.Zone = pick(d, "west-1", "west-2", "west-3")
	case 7:
		startedAgo(pick(d, time.Minute, time.Hour))(&n)
	}
	if d.rarely() {
		restarts(pick(d, api.FateRestart, api.FateReimage, api.FateDeallocate), pick(d, time.Second, time.Minute, time.Hour))(&n)
		pick(d, func(*Node) {}, carriedOut(time.Second), carriedOut(time.Hour))(&n)
		inRun(pick(d, "before", "after"))(&n)
	}
	for _, change := range []func(*Node){announced(event(api.InterruptionPreempt, time.Second, name)), announced(event(api.InterruptionReboot, -2*time.Hour, name)),
		silentFor(time.Hour), silentFor(time.Second), state(InstanceFailed), state(InstanceRestarting),
		func(n *Node) { n.Volume = "pvc" }, func(n *Node) { n.Instance.Changing = true }, func(n *Node) { n.Instance, n.MissingSince = Instance{}, 1 }} {
		if d.rarely() {
			change(&n)
		}
	}
	if po := find(s.Pools, n.Pool); po != nil && n.Instance.VMID != "" && d.often() {
		po.Instances = append(po.Instances, n.Instance)
		po.Capacity++
	}
	return n
}

func find(pools []PoolState, name string) *PoolState {
	for i := range pools {
		if pools[i].Name == name {
			return &pools[i]
		}
	}
	return nil
}

func anyPod(d *dice, s *Snapshot, name string) Pod {
	p := pod(name, 1, class(anyClass(d, 1)), aged(time.Duration(d.roll(4))*time.Minute), priority(int32(d.roll(2))))
	p.Work = pick(d, Batch, Batch, Batch, LongLived, Daemon, Mirror)
	host := "gone"
	if len(s.Nodes) > 0 {
		host = s.Nodes[d.roll(len(s.Nodes))].Name
	}
	switch d.roll(8) {
	case 1, 2:
		on(host)(&p)
	case 3:
		released(host)(&p)
	case 4:
		unschedulable(&p)
	case 5:
		othersGate(&p)
	}
	if d.rarely() {
		p.MaxWait = 2 * time.Minute
	}
	if !d.often() {
		gang(pick(d, "g", "h"), d.roll(5))(&p)
	}
	return p
}

// tiedClass is one of pods that are spread, or keep to or off each other.
func tiedClass(d *dice) *fit.Class {
	own := map[string]string{"app": pick(d, "a", "b")}
	selects := &metav1.LabelSelector{MatchLabels: map[string]string{"app": pick(d, "a", "a", "b")}}
	key := pick(d, corev1.LabelHostname, corev1.LabelTopologyZone)
	term := []corev1.PodAffinityTerm{{LabelSelector: selects, TopologyKey: key}}
	spec := corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: cpus(float64(1 + d.roll(4))).List()}}}}
	delete(spec.Containers[0].Resources.Requests, corev1.ResourcePods)
	switch d.roll(5) {
	case 0:
		spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: int32(1 + d.roll(2)), TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selects}}
	case 1:
		spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: term}}
	case 2:
		spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: term}}
	case 3:
		spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "work", Labels: own}, Spec: spec}
	compiler.Class(p, "") // from here on the compiler knows that selectors look at the label
	return compiler.Class(p, "")
}

func anyClass(d *dice, unit float64) *fit.Class {
	if d.roll(4) == 3 {
		return tiedClass(d)
	}
	r := cpus(unit * float64(d.roll(9)))
	if d.rarely() {
		r.Scalar = map[corev1.ResourceName]int64{gpu: 1}
	}
	var selector map[string]string
	if d.rarely() {
		selector = map[string]string{corev1.LabelHostname: "n01"}
	}
	return classOf(r, pick(d, "", "", "", "pool0", "Pool1"), selector)
}

func anySize(d *dice, sizes ...float64) fit.Resources {
	r := machineOf(pick(d, sizes...))
	r.Pods = int64(pick(d, 110, 3))
	if d.rarely() {
		r.Scalar = map[corev1.ResourceName]int64{gpu: 2}
	}
	return r
}

func allPods(s Snapshot) []*Pod {
	all := slices.Clone(s.Waiting)
	for _, n := range s.Nodes {
		all = append(all, n.load().Pods...)
	}
	return all
}

// shuffled returns the snapshot with its lists in another order.
func shuffled(s Snapshot, r *rand.Rand) Snapshot {
	mix := func(n int, swap func(i, j int)) { r.Shuffle(n, swap) }
	s.Pools, s.Nodes = slices.Clone(s.Pools), slices.Clone(s.Nodes)
	pods := allPods(s)
	s.Expected, s.Daemons = slices.Clone(s.Expected), slices.Clone(s.Daemons)
	mix(len(s.Pools), func(i, j int) { s.Pools[i], s.Pools[j] = s.Pools[j], s.Pools[i] })
	mix(len(s.Nodes), func(i, j int) { s.Nodes[i], s.Nodes[j] = s.Nodes[j], s.Nodes[i] })
	mix(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
	for i, n := range s.Nodes {
		alone := *n
		s.Nodes[i] = &alone
	}
	s.SetPods(pods)
	mix(len(s.Expected), func(i, j int) { s.Expected[i], s.Expected[j] = s.Expected[j], s.Expected[i] })
	mix(len(s.Daemons), func(i, j int) { s.Daemons[i], s.Daemons[j] = s.Daemons[j], s.Daemons[i] })
	for i := range s.Pools {
		list := slices.Clone(s.Pools[i].Instances)
		mix(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		s.Pools[i].Instances = list
	}
	return s
}

func FuzzPlan(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		seed := make([]byte, 600)
		for i := range seed {
			seed[i] = byte(r.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed []byte) {
		s := anySnapshot(&dice{seed})
		d := Plan(s)
		checkReleases(t, s, d)
		checkGangs(t, s, d)
		checkGrows(t, s, d)
		checkSteps(t, s, d)
		checkReasons(t, s, d)
		checkMemory(t, s, &dice{bytes.Repeat(seed, 4)})
		again := Plan(shuffled(s, rand.New(rand.NewPCG(uint64(len(seed)), 7))))
		if !bytes.Equal(fmt.Appendf(nil, "%#v", d), fmt.Appendf(nil, "%#v", again)) {
			t.Errorf("another order of the lists, another decision (-first +second):\n%s", cmp.Diff(d, again))
		}
	})
}
