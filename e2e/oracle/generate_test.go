package oracle

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// rule generates what one of the scheduler's rules looks at. Any part may be nil.
type rule struct {
	// objects adds objects beside nodes and pods.
	objects func(*generator)
	// node and pod change a node and a pod.
	node func(*generator, *corev1.Node)
	pod  func(*generator, *corev1.Pod)
}

var rules = map[string]rule{}

// intricate are rules with so many cases that they come more often.
var intricate = []string{"spread", "spread", "spread", "spread", "spread", "podaffinity", "antiaffinity", "unbound", "unbound", "limits", "resources", "resources"}

// generator makes one cluster.
type generator struct {
	*rand.Rand
	cluster
	on []string
	// allExist is true if no node is a machine that does not exist yet.
	allExist bool
	// nominates is true if pods will be nominated. An empty selector of a spread
	// constraint picks no pod for kube-scheduler, but every pod that is nominated
	// for the node that it judges: where pods have one, no order is right.
	nominates bool
}

// generate returns the cluster of that seed. Only the named rules take part; of
// these a third of the clusters have one, a third two and a third many.
func generate(seed uint64, names []string) *cluster {
	if len(names) == 0 {
		names = slices.AppendSeq(slices.Clone(intricate), maps.Keys(rules))
	}
	names = slices.Sorted(slices.Values(names))
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0))}
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	switch seed % 3 {
	case 0:
		g.on = names[:1]
	case 1:
		g.on = names[:min(2, len(names))]
	default:
		g.on = names[:1+g.IntN(len(names))]
	}
	g.on = slices.Compact(slices.Sorted(slices.Values(g.on)))
	for _, name := range namespaces {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}}}
		if g.chance(50) {
			ns.Labels["team"] = pick(g, []string{"a", "b"})
		}
		g.Others = append(g.Others, ns)
	}
	for _, name := range g.on {
		if rules[name].objects != nil {
			rules[name].objects(g)
		}
	}
	g.allExist = g.chance(50) || slices.Contains(g.on, "spread") && g.chance(50)
	for i := range 2 + g.IntN(7) {
		g.Nodes = append(g.Nodes, g.node(i))
	}
	for i := range g.IntN(13) {
		p := g.pod(fmt.Sprintf("stands-%d", i))
		p.Spec.NodeName = pick(g, g.Nodes).Name
		if g.chance(15) {
			now := metav1.Now()
			p.DeletionTimestamp, p.Finalizers = &now, []string{"example.com/slow"}
		}
		g.Pods = append(g.Pods, p)
	}
	for i := range 3 + g.IntN(7) {
		g.Incoming = append(g.Incoming, g.pod(fmt.Sprintf("incoming-%d", i)))
	}
	return &g.cluster
}

// chance is true in so many of a hundred cases.
func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g *generator, of []T) T { return of[g.IntN(len(of))] }

// some picks up to most elements, some of them perhaps twice.
func some[T any](g *generator, most int, of []T) []T {
	var out []T
	for range g.IntN(most + 1) {
		out = append(out, pick(g, of))
	}
	return out
}

var (
	namespaces = []string{"blue", "green", "red"}
	zones      = []string{"1", "2", "3"}
)

func (g *generator) node(i int) *corev1.Node {
	name := fmt.Sprintf("node-%d", i)
	if !g.allExist && g.chance(25) {
		name = fmt.Sprintf("%s%d", unborn, i)
	}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: resource.MustParse("110"),
		}},
	}
	if g.chance(80) {
		n.Labels[corev1.LabelTopologyZone] = pick(g, zones)
	}
	if g.chance(50) {
		n.Labels["disk"] = pick(g, []string{"ssd", "hdd"})
	}
	for _, name := range g.on {
		if rules[name].node != nil {
			rules[name].node(g, n)
		}
	}
	return n
}

func (g *generator) pod(name string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: pick(g, namespaces), UID: types.UID(name), Labels: map[string]string{"uid": name}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}},
	}
	if g.chance(70) {
		p.Labels["app"] = pick(g, []string{"web", "db", "batch"})
	}
	if g.chance(40) {
		p.Labels["tier"] = pick(g, []string{"1", "2"})
	}
	for _, name := range g.on {
		if rules[name].pod != nil {
			rules[name].pod(g, p)
		}
	}
	return p
}
