package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// market is a cluster with pools that machines can be bought from, and pods at
// the gate.
type market struct {
	cluster
	pools []*marketPool
	// ended are the pods of jobs that have run.
	ended    []*corev1.Pod
	gangs    map[types.UID]gangOf
	compiler *fit.Compiler
	now      time.Time
}

type gangOf struct {
	name string
	size int
}

type marketPool struct {
	capacity.PoolState
	offers corev1.ResourceList
	labels map[string]string
	taints []corev1.Taint
}

// generateMarket returns the market of that seed. What a pod may ask for is
// what the planner has to place by.
func generateMarket(seed uint64) *market {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), nominates: true}
	wishes := []string{"selector", "affinity", "taints", "ports", "spread", "podaffinity", "antiaffinity"}
	g.Shuffle(len(wishes), func(i, j int) { wishes[i], wishes[j] = wishes[j], wishes[i] })
	g.on = wishes[:g.IntN(4)]
	m := &market{gangs: map[types.UID]gangOf{}, compiler: fit.NewCompiler(), now: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)}
	for _, name := range namespaces {
		g.Others = append(g.Others, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name, "team": pick(g, []string{"a", "b"})}}})
	}
	for i := range 1 + g.IntN(3) {
		m.pools = append(m.pools, g.pool(i))
	}
	m.Others = g.Others
	for range g.IntN(6) {
		m.buy(pick(g, m.pools))
	}
	if g.chance(50) {
		m.Nodes = append(m.Nodes, g.outsider())
	}
	if len(m.Nodes) > 0 {
		for i := range g.IntN(10) {
			p := g.job(fmt.Sprintf("stands-%d", i))
			p.Spec.NodeName = pick(g, m.Nodes).Name
			m.Pods = append(m.Pods, p)
		}
	}
	for i := range 1 + g.IntN(5) {
		m.addJob(g, fmt.Sprintf("job-%d", i))
	}
	return m
}

func (g *generator) pool(i int) *marketPool {
	name := fmt.Sprintf("pool-%d", i)
	cpu := pick(g, []int64{2, 4, 8, 16})
	p := &marketPool{
		offers: corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(cpu*1000-100, resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(cpu*int64(2+g.IntN(3))<<30, resource.BinarySI),
			corev1.ResourcePods:   *resource.NewQuantity(pick(g, []int64{5, 30, 110}), resource.DecimalSI),
		},
		labels: map[string]string{api.PoolLabel: name, corev1.LabelOSStable: "linux"},
	}
	zones := []string{"1", "2", "3"}[:g.IntN(4)]
	if len(zones) > 0 {
		p.labels[corev1.LabelTopologyZone] = zones[0]
	}
	if g.chance(50) {
		p.labels["disk"] = pick(g, []string{"ssd", "hdd"})
	}
	if g.chance(40) {
		p.labels["cores"] = fmt.Sprint(cpu)
	}
	if g.chance(25) {
		p.taints = []corev1.Taint{{Key: pick(g, []string{"team", "level"}), Value: pick(g, []string{"a", "1"}), Effect: corev1.TaintEffectNoSchedule}}
	}
	if g.chance(20) {
		p.offers["nvidia.com/gpu"] = resource.MustParse("2")
	}
	p.PoolState = capacity.PoolState{
		Pool:   capacity.Pool{Name: name, Settled: true, Zones: zones, Settings: api.PoolSettings{Max: 4 + g.IntN(20), PricePerHour: float64(cpu) * pick(g, []float64{1, 1, 0.8, 1.3})}},
		Listed: true, BootTime: time.Minute,
		Shape: &fit.Shape{Labels: p.labels, Taints: p.taints, Allocatable: fit.ResourcesOf(p.offers)},
	}
	return p
}

// outsider is a node of no pool.
func (g *generator) outsider() *corev1.Node {
	n := g.node(90)
	n.Name = "outsider"
	n.Labels[corev1.LabelHostname] = n.Name
	n.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("3")
	return n
}

// job is a pod that asks for room.
func (g *generator) job(name string) *corev1.Pod {
	p := g.pod(name)
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
		corev1.ResourceCPU:    amounts(g, []string{"300m", "1", "1500m", "3"}),
		corev1.ResourceMemory: amounts(g, []string{"256Mi", "1Gi", "3Gi"}),
	}
	if g.chance(10) {
		p.Spec.Containers[0].Resources.Requests["nvidia.com/gpu"] = resource.MustParse("1")
	}
	return p
}

// addJob adds up to twelve pods that are alike, some as a gang.
func (m *market) addJob(g *generator, name string) {
	template := g.job(name)
	size := 1 + g.IntN(12)
	gang := g.chance(20)
	for i := range size {
		p := template.DeepCopy()
		p.Name = fmt.Sprintf("%s-%d", name, i)
		p.UID = types.UID(p.Name)
		p.Labels["uid"] = p.Name
		p.CreationTimestamp = metav1.NewTime(m.now.Add(-time.Duration(len(m.Incoming)+1) * time.Second).Truncate(time.Second))
		p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: api.CapacityGate}}
		p.Spec.SchedulerName = corev1.DefaultSchedulerName
		if gang {
			m.gangs[p.UID] = gangOf{name, size}
		}
		m.Incoming = append(m.Incoming, p)
	}
}

// buy adds one machine of the pool as a ready node, in the zone that has the
// fewest of its machines, and returns the node.
func (m *market) buy(p *marketPool) *corev1.Node {
	name := fmt.Sprintf("%s-%d", p.Name, len(p.Instances))
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: maps.Clone(p.labels)}, Spec: corev1.NodeSpec{Taints: p.taints}, Status: corev1.NodeStatus{Allocatable: p.offers}}
	n.Labels[corev1.LabelHostname] = name
	zone := ""
	if len(p.Zones) > 0 {
		machines := map[string]int{}
		for _, i := range p.Instances {
			machines[i.Zone]++
		}
		zone = slices.MinFunc(p.Zones, func(a, b string) int { return cmp.Or(cmp.Compare(machines[a], machines[b]), cmp.Compare(a, b)) })
		n.Labels[corev1.LabelTopologyZone] = zone
	}
	p.Instances = append(p.Instances, capacity.Instance{
		ID: name, VMID: "vm-" + name, Name: name, ComputerName: name, Zone: zone,
		State: capacity.InstanceRunning, Created: m.now.Add(-2 * time.Hour),
	})
	p.Capacity = max(p.Capacity, len(p.Instances))
	m.Nodes = append(m.Nodes, n)
	return n
}

// snapshot is the market in the planner's terms; pods are all that there are.
func (m *market) snapshot(pods []*corev1.Pod) capacity.Snapshot {
	s := capacity.Snapshot{Now: m.now, Settle: time.Minute}
	for _, n := range m.Nodes {
		node := &capacity.Node{Name: n.Name, UID: types.UID(n.Name), Shape: fit.ShapeOf(n), Ready: true, Created: m.now.Add(-time.Hour)}
		for _, p := range m.pools {
			for _, i := range p.Instances {
				if i.ID == n.Name {
					node.Pool, node.Instance, node.Recorded = p.Name, i, i.VMID
				}
			}
		}
		s.Nodes = append(s.Nodes, node)
	}
	for _, p := range m.pools {
		s.Pools = append(s.Pools, p.PoolState)
	}
	var known []*capacity.Pod
	for generation := -1; generation != m.compiler.Generation(); {
		generation = m.compiler.Generation()
		known = nil
		for _, p := range pods {
			known = append(known, m.known(p))
		}
	}
	s.SetPods(known)
	return s
}

func (m *market) known(p *corev1.Pod) *capacity.Pod {
	m.compiler.Objects = objects{&m.cluster}
	pod := &capacity.Pod{
		Key: types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, UID: p.UID, Node: p.Spec.NodeName,
		Gated: len(p.Spec.SchedulingGates) > 0, Created: p.CreationTimestamp.Time, Owned: true,
	}
	if p.Spec.NodeName == "" {
		pod.Class = m.compiler.Class(p, "")
	} else {
		pod.Class = m.compiler.Bound(p)
		pod.Bound = m.now.Add(-time.Minute)
	}
	if strings.HasPrefix(p.Name, "stands") {
		pod.Work = capacity.LongLived
	}
	pod.Gang, pod.GangSize = m.gangs[p.UID].name, m.gangs[p.UID].size
	return pod
}

// all are the objects that the scheduler starts with.
func (m *market) all() []runtime.Object {
	list := m.objects()
	for _, p := range m.Pods {
		list = append(list, p)
	}
	for _, p := range m.Incoming {
		list = append(list, p)
	}
	return list
}

// String is the market with one pod of each job.
func (m *market) String() string {
	short := m.cluster
	short.Incoming = slices.CompactFunc(slices.Clone(m.Incoming), func(a, b *corev1.Pod) bool {
		return a.Name[:strings.LastIndex(a.Name, "-")] == b.Name[:strings.LastIndex(b.Name, "-")]
	})
	var pools strings.Builder
	for _, p := range m.pools {
		fmt.Fprintf(&pools, "# %s: %d of %d machines, %.1f per hour, zones %v, labels %v, taints %v, offers %v\n",
			p.Name, len(p.Instances), p.Settings.Max, p.Settings.PricePerHour, p.Zones, p.labels, p.taints, fit.ResourcesOf(p.offers))
	}
	return pools.String() + short.String()
}
