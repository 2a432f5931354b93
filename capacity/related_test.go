package capacity

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
)

// besideNobody makes a pod that has to be on a node with pods that do not exist.
func besideNobody(p *Pod) {
	nobody := term("none", corev1.LabelHostname)
	bind(p, "", corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: nobody}})
}

// apart makes a pod that shares its node with no other one like it.
func apart(p *Pod) {
	alike := term("apart", corev1.LabelHostname)
	bind(p, "apart", corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: alike}})
}

// together makes a pod that has to be in the zone of all others like it.
func together(p *Pod) {
	alike := term("together", corev1.LabelTopologyZone)
	bind(p, "together", corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: alike}})
}

func term(app, key string) []corev1.PodAffinityTerm {
	return []corev1.PodAffinityTerm{{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, TopologyKey: key}}
}

// bind gives the pod the label and a rule about others.
func bind(p *Pod, app string, rule corev1.Affinity) {
	requests := p.Class.Requests.List()
	delete(requests, corev1.ResourcePods)
	for range 2 { // at first the compiler does not know that the label matters
		p.Class = compiler.Class(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: requests}}},
			Affinity:   &rule,
		}}, "")
	}
}

func TestPodsThatOthersKeepOff(t *testing.T) {
	full := poolOf("agents", 1, running("n1"), bounds(0, 1))
	scenarios{
		"an empty node is not kept free for what it cannot take": {
			in:   snapshot(pools(full), nodes(node("n1")), pod("lonely", 1, besideNobody, aged(time.Hour)), pod("small", 2)),
			want: []string{"release small to n1", "lonely waits: PoolAtMaximum"},
		},
		"nor for a gang that cannot take it either": {
			in: snapshot(pools(full), nodes(node("n1")), pod("lonely-0", 1, besideNobody, aged(time.Hour), gang("g", 2)),
				pod("lonely-1", 1, besideNobody, aged(time.Hour), gang("g", 2)), pod("small", 2)),
			want: []string{"release small to n1", "lonely-0 waits: PoolAtMaximum", "lonely-1 waits: PoolAtMaximum"},
		},
		"nor for one of which no two may share it": {
			in: snapshot(pools(full), nodes(node("n1")), pod("apart-0", 1, apart, aged(time.Hour), gang("g", 2)),
				pod("apart-1", 1, apart, aged(time.Hour), gang("g", 2)), pod("small", 2)),
			want: []string{"release small to n1", "apart-0 waits: PoolAtMaximum", "apart-1 waits: PoolAtMaximum"},
		},
		"nor is one whose work will end": {
			in: snapshot(pools(full), nodes(node("n1")), pod("r", 2, on("n1"), endsIn(time.Hour)),
				pod("lonely", 7, besideNobody, aged(time.Hour)), pod("small", 2)),
			want: []string{"release small to n1", "lonely waits: PoolAtMaximum"},
		},
		"no machine stays for them": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1")), pod("lonely", 1, besideNobody)),
			want: []string{"mark n1", "lonely waits: NoPoolFits"},
		},
	}.run(t)
}

func TestPodIsNotReleasedBeforeTheNodeHasItsLabel(t *testing.T) {
	ofPool := class(classOf(cpus(1), "", map[string]string{api.PoolLabel: "agents"}))
	bare := func(n *Node) { delete(n.Labels, api.PoolLabel) }
	s := snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", notAdopted, bare)), pod("a", 1, ofPool), pod("b", 1))
	want := []string{"release b to n1", "adopt n1", "a waits: OthersFirst"}
	if diff := cmp.Diff(want, story(Plan(s))); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

// TestExpectedPodsAreBounded: many Jobs that ask for absurdly many pods do not
// stop the planner, and do not hinder each other.
func TestExpectedPodsAreBounded(t *testing.T) {
	var all []Pod
	var expected []Expected
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, pod(name, 1))
		expected = append(expected, Expected{Like: types.UID("uid-" + name), Count: 1e9})
	}
	s := snapshot(pools(poolOf("agents", 0)), nil, all...)
	s.Expected = expected
	p := newPlanner(s, new(Memory))
	p.addUnits()
	if want := mostExpected + len(all); len(p.units) != want {
		t.Errorf("%d pods are planned for, want %d", len(p.units), want)
	}
}

// TestPreferencesAmongManyPlaces: what pods like does not stop the planner.
func TestPreferencesAmongManyPlaces(t *testing.T) {
	const count = 3000
	likes := &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
		Weight: 1, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n0010"},
		}}},
	}}}
	po := poolOf("agents", count, bounds(0, count))
	var machines []Node
	var all []Pod
	for i := range count {
		n := node(fmt.Sprintf("n%04d", i))
		machines = append(machines, n)
		po.Instances = append(po.Instances, n.Instance)
		own := compiler.Class(&corev1.Pod{Spec: corev1.PodSpec{
			Affinity: &corev1.Affinity{NodeAffinity: likes},
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(int64(5000+i), resource.DecimalSI)},
			}}},
		}}, "")
		all = append(all, pod(fmt.Sprintf("p%04d", i), 1, class(own)))
	}
	p := newPlanner(snapshot(pools(po), nodes(machines...), all...), new(Memory))
	p.addUnits()
	p.serve()
	if got := p.units[0].members[0].bin.name(); got != "n0010" {
		t.Errorf("the first pod goes to %s, want the node that it likes", got)
	}
	if most := manyLooks + fewLooks*count; p.looks == 0 || p.looks > most {
		t.Errorf("%d places were compared, want no more than %d", p.looks, most)
	}
}
