package verify

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// cluster is three machines in three zones, the last of which has a label, and
// a fourth in the first zone.
func cluster() []Machine {
	var machines []Machine
	for i, zone := range []string{"1", "2", "3", "1"} {
		machines = append(machines, Machine{
			Labels: map[string]string{corev1.LabelHostname: fmt.Sprintf("machine-%d", i), corev1.LabelTopologyZone: zone},
			Allocatable: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("3"),
			},
		})
	}
	machines[2].Labels["size"] = "12"
	return machines
}

func pod(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "work", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "a"}},
		Spec:       corev1.PodSpec{Affinity: &corev1.Affinity{}, Containers: []corev1.Container{{Name: "main"}}},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func requesting(name corev1.ResourceName, amount string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{name: resource.MustParse(amount)}
	}
}

func labelled(app string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{"app": app} }
}

func onSize(operator corev1.NodeSelectorOperator, values ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "size", Operator: operator, Values: values}}}},
		}}
	}
}

func selecting(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{app}}}}
}

func spread(key, app string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selecting(app),
		}}
	}
}

func near(key, app string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity.PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: key, LabelSelector: selecting(app)}}}
	}
}

func apart(key, app string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: key, LabelSelector: selecting(app)}}}
	}
}

func TestCheck(t *testing.T) {
	const host, zone, nowhere = corev1.LabelHostname, corev1.LabelTopologyZone, -1
	type planned struct {
		pod     *corev1.Pod
		machine int
	}
	for name, tc := range map[string]struct {
		plan []planned
		want []string // findings, by pod
	}{
		"no place":                     {[]planned{{pod("x"), nowhere}}, []string{"x: it has no place"}},
		"as much CPU as there is":      {[]planned{{pod("x", requesting("cpu", "1500m")), 0}, {pod("y", requesting("cpu", "500m")), 0}}, nil},
		"more CPU than there is":       {[]planned{{pod("x", requesting("cpu", "1500m")), 0}, {pod("y", requesting("cpu", "501m")), 0}}, []string{"y: resources"}},
		"more memory than there is":    {[]planned{{pod("x", requesting("memory", "5Gi")), 0}}, []string{"x: resources"}},
		"a resource that is not there": {[]planned{{pod("x", requesting("nvidia.com/gpu", "1")), 0}}, []string{"x: resources"}},
		"more pods than the limit":     {[]planned{{pod("w"), 0}, {pod("x"), 0}, {pod("y"), 0}, {pod("z"), 0}}, []string{"z: resources"}},
		"a node selector": {[]planned{
			{pod("x", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{zone: "1"} }), 3},
			{pod("y", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{zone: "1"} }), 1},
		}, []string{"y: node selector or node affinity"}},
		"node affinity by value":  {[]planned{{pod("x", onSize(corev1.NodeSelectorOpIn, "12")), 2}, {pod("y", onSize(corev1.NodeSelectorOpIn, "12")), 0}}, []string{"y: node selector or node affinity"}},
		"node affinity by number": {[]planned{{pod("x", onSize(corev1.NodeSelectorOpGt, "11")), 2}, {pod("y", onSize(corev1.NodeSelectorOpLt, "12")), 2}}, []string{"y: node selector or node affinity"}},
		"one in each zone, then another": {[]planned{
			{pod("w", spread(zone, "a")), 0}, {pod("x", spread(zone, "a")), 1}, {pod("y", spread(zone, "a")), 2}, {pod("z", spread(zone, "a")), 3},
		}, nil},
		"two in one zone, none in another":           {[]planned{{pod("x", spread(zone, "a")), 0}, {pod("y", spread(zone, "a")), 3}}, []string{"y: topology spread over " + zone}},
		"spread over zones that the selector leaves": {[]planned{{pod("x", spread(zone, "a"), onSize(corev1.NodeSelectorOpExists)), 2}, {pod("y", spread(zone, "a"), onSize(corev1.NodeSelectorOpExists)), 2}}, nil},
		"two on one host, none on another":           {[]planned{{pod("x", spread(host, "a")), 1}, {pod("y", spread(host, "a")), 1}}, []string{"y: topology spread over " + host}},
		"too many for it, but after it":              {[]planned{{pod("x", labelled("b")), 1}, {pod("y", labelled("b")), 1}, {pod("z", spread(host, "b")), 1}}, nil},
		"one like it, but after it":                  {[]planned{{pod("x"), 1}, {pod("y", spread(host, "a")), 1}}, nil},
		"spread after the pods that it waits for": {[]planned{
			{pod("v", spread(zone, "a")), 0}, {pod("w", spread(zone, "a")), 3}, {pod("x"), 1}, {pod("y"), 2},
		}, nil},
		"nothing fills the empty zone":               {[]planned{{pod("v", spread(zone, "a")), 0}, {pod("w", spread(zone, "a")), 3}, {pod("x"), 1}, {pod("y"), 1}}, []string{"w: topology spread over " + zone}},
		"affinity to the first of its kind":          {[]planned{{pod("x", near(zone, "a")), 0}, {pod("y", near(zone, "a")), 3}}, nil},
		"affinity to pods elsewhere":                 {[]planned{{pod("x", near(zone, "a")), 0}, {pod("y", near(zone, "a")), 1}}, []string{"y: pod affinity in " + zone}},
		"affinity to nobody":                         {[]planned{{pod("x", near(zone, "b")), 0}}, []string{"x: pod affinity in " + zone}},
		"affinity to one that comes later":           {[]planned{{pod("x", near(zone, "b")), 0}, {pod("y", labelled("b")), 3}}, nil},
		"anti-affinity, kept":                        {[]planned{{pod("x", apart(host, "a")), 0}, {pod("y", apart(host, "a")), 3}}, nil},
		"anti-affinity, broken":                      {[]planned{{pod("x", apart(zone, "a")), 0}, {pod("y", apart(zone, "a")), 3}}, []string{"y: its anti-affinity in " + zone}},
		"anti-affinity of the other one":             {[]planned{{pod("x", apart(zone, "a"), labelled("b")), 0}, {pod("y"), 3}}, []string{"y: another pod's anti-affinity in " + zone}},
		"anti-affinity to pods of another namespace": {[]planned{{pod("x", apart(zone, "a")), 0}, {pod("y", func(p *corev1.Pod) { p.Namespace = "other" }), 3}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var pods []*corev1.Pod
			places := map[types.UID]int{}
			for _, p := range tc.plan {
				pods = append(pods, p.pod)
				if p.machine != nowhere {
					places[p.pod.UID] = p.machine
				}
			}
			findings, err := Check(pods, cluster(), places)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings {
				got = append(got, f.Pod.Name+": "+f.Why)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckRefusesUnknownRules(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"volumes":         func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "data"}} },
		"init containers": func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "first"}} },
		"host ports":      func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}} },
		"soft spread": func(p *corev1.Pod) {
			spread(corev1.LabelHostname, "a")(p)
			p.Spec.TopologySpreadConstraints[0].WhenUnsatisfiable = corev1.ScheduleAnyway
		},
		"affinity across namespaces": func(p *corev1.Pod) {
			near(corev1.LabelHostname, "a")(p)
			p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].Namespaces = []string{"other"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Check([]*corev1.Pod{pod("x", change)}, cluster(), nil); err == nil {
				t.Error("a pod with rules that are not judged passes")
			}
		})
	}
}
