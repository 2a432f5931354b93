package fit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pod is a pod of an app in the namespace work.
func pod(app string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "work", Name: app, UID: "uid", Labels: map[string]string{"app": app}}}
	for _, change := range changes {
		if change != nil {
			change(p)
		}
	}
	return p
}

// byApp selects the pods of an app.
func byApp(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func near(app, key string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: key, LabelSelector: byApp(app)},
		}}}
	}
}

func awayFrom(app, key string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: key, LabelSelector: byApp(app)},
		}}}
	}
}

func withPort(port int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Ports: []corev1.ContainerPort{{HostPort: port}}})
	}
}

// TestWorld puts pods one after the other where they fit first. There are two
// nodes, a and b in zone 1, a third one, c in zone 2, and two machines in zone
// 3 that do not exist yet, n and m.
func TestWorld(t *testing.T) {
	places := []string{"a", "b", "c", "n", "m"}
	for name, tc := range map[string]struct {
		standing map[string][]*corev1.Pod
		pods     []*corev1.Pod
		want     []string // where each goes, or why it cannot go to the last place
	}{
		"one host port a node, of machines to come too": {
			pods: []*corev1.Pod{pod("x", withPort(80)), pod("y", withPort(80)), pod("x", withPort(81)), pod("x", withPort(80)), pod("x", withPort(80)), pod("x", withPort(80)), pod("x", withPort(80))},
			want: []string{"a", "b", "a", "c", "n", "m", "host ports"},
		},
		"a port of a pod that stands": {
			standing: map[string][]*corev1.Pod{"a": {pod("x", withPort(80))}},
			pods:     []*corev1.Pod{pod("y", withPort(80))},
			want:     []string{"b"},
		},
		"apart from each other, a node each": {
			pods: []*corev1.Pod{pod("x", awayFrom("x", hostname)), pod("x", awayFrom("x", hostname)), pod("x", awayFrom("x", hostname)), pod("x", awayFrom("x", hostname)), pod("x", awayFrom("x", hostname)), pod("x", awayFrom("x", hostname))},
			want: []string{"a", "b", "c", "n", "m", whyRefused},
		},
		"away from a zone": {
			standing: map[string][]*corev1.Pod{"b": {pod("loud")}},
			pods:     []*corev1.Pod{pod("x", awayFrom("loud", corev1.LabelTopologyZone)), pod("loud")},
			want:     []string{"c", "a"},
		},
		"a pod that stands wants to be away from others": {
			standing: map[string][]*corev1.Pod{"a": {pod("quiet", awayFrom("loud", corev1.LabelTopologyZone))}},
			pods:     []*corev1.Pod{pod("loud"), pod("other")},
			want:     []string{"c", "a"},
		},
		"a planned pod wants to be away from others": {
			pods: []*corev1.Pod{pod("quiet", awayFrom("loud", corev1.LabelTopologyZone)), pod("loud")},
			want: []string{"a", "c"},
		},
		"near others": {
			standing: map[string][]*corev1.Pod{"c": {pod("db")}},
			pods:     []*corev1.Pod{pod("x", near("db", hostname)), pod("x", near("db", corev1.LabelTopologyZone))},
			want:     []string{"c", "c"},
		},
		"near nobody": {
			pods: []*corev1.Pod{pod("x", near("db", hostname))},
			want: []string{whyNear},
		},
		"near each other, the first one anywhere": {
			pods: []*corev1.Pod{pod("y"), pod("x", near("x", corev1.LabelTopologyZone), withPort(80)), pod("x", near("x", corev1.LabelTopologyZone), withPort(80)), pod("x", near("x", corev1.LabelTopologyZone), withPort(80))},
			want: []string{"a", "a", "b", whyNear},
		},
		"near what is planned": {
			pods: []*corev1.Pod{pod("db", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelTopologyZone: "2"} }), pod("x", near("db", corev1.LabelTopologyZone))},
			want: []string{"c", "c"},
		},
		"spread over zones": {
			pods: []*corev1.Pod{pod("x", spreading(corev1.LabelTopologyZone)), pod("x", spreading(corev1.LabelTopologyZone)), pod("x", spreading(corev1.LabelTopologyZone)), pod("x", spreading(corev1.LabelTopologyZone))},
			want: []string{"a", "c", "a", "c"},
		},
		"spread over nodes, by those that exist": {
			standing: map[string][]*corev1.Pod{"a": {pod("x")}, "b": {pod("x")}},
			pods:     []*corev1.Pod{pod("x", spreading(hostname)), pod("x", spreading(hostname)), pod("x", spreading(hostname))},
			want:     []string{"c", "a", "b"},
		},
		"spread over nodes, one on each that is to come": {
			standing: map[string][]*corev1.Pod{"a": {pod("x")}, "b": {pod("x")}},
			pods: []*corev1.Pod{
				pod("x", spreading(hostname), inZone("3")), pod("x", spreading(hostname), inZone("3")),
				pod("x", spreading(hostname), inZone("3")),
			},
			want: []string{"n", "m", whySpread},
		},
		"at least four domains, of which there are three": {
			pods: []*corev1.Pod{
				pod("x", spreading(corev1.LabelTopologyZone), atLeastDomains(4)), pod("x", spreading(corev1.LabelTopologyZone), atLeastDomains(4)),
				pod("x", spreading(corev1.LabelTopologyZone), atLeastDomains(4)), pod("x", spreading(corev1.LabelTopologyZone), atLeastDomains(4)),
			},
			want: []string{"a", "c", "n", whySpread},
		},
		"the zone that the pod may not use does not count": {
			pods: []*corev1.Pod{pod("x", spreading(corev1.LabelTopologyZone), inZone("1")), pod("x", spreading(corev1.LabelTopologyZone), inZone("1"))},
			want: []string{"a", "a"},
		},
		"to a node by name never to a machine without one": {
			pods: []*corev1.Pod{pod("x", func(p *corev1.Pod) {
				p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
					{MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{"z"}}}},
				}}}}
			})},
			want: []string{"node selector"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewCompiler()
			var world *World
			var at []*Place
			var classes []*Class
			for generation := -1; generation != c.Generation(); {
				generation = c.Generation()
				world, at, classes = NewWorld(), nil, nil
				for i, name := range places {
					shape := &Shape{Labels: map[string]string{corev1.LabelTopologyZone: []string{"1", "1", "2", "3", "3"}[i]}, Allocatable: machineOf(64)}
					if i >= 3 {
						at = append(at, world.Add(PlaceOf(shape, "", shape.Allocatable, nil)))
						continue
					}
					shape.Labels[hostname] = name
					var standing []Count
					for _, p := range tc.standing[name] {
						standing = append(standing, Count{Class: c.Bound(p), N: 1})
					}
					at = append(at, world.Add(PlaceOf(shape, name, shape.Allocatable, standing)))
				}
				for _, p := range tc.pods {
					classes = append(classes, c.Class(p, ""))
				}
			}
			var got []string
			for _, class := range classes {
				var v Verdict
				for i, p := range at {
					if v = world.Check(p, class); v.Why == "" {
						world.Put(p, class, 1)
						got = append(got, places[i])
						break
					}
				}
				if v.Why != "" {
					got = append(got, v.Why)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
		})
	}
}

func atLeastDomains(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.TopologySpreadConstraints[0].MinDomains = &n }
}

func inZone(zone string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelTopologyZone: zone} }
}

// TestVersion: a refusal that another pod may end comes with a version that
// changes when one does, and a lasting one does not end.
func TestVersion(t *testing.T) {
	c := NewCompiler()
	db := pod("db")
	follower := c.Class(pod("x", near("db", hostname)), "")
	leader := c.Class(db, "")
	w := NewWorld()
	shape := &Shape{Labels: map[string]string{hostname: "a"}, Allocatable: machineOf(8)}
	a := w.Add(PlaceOf(shape, "a", shape.Allocatable, nil))
	refusal, version := w.Check(a, follower), w.Version(follower)
	if diff := cmp.Diff(Verdict{Why: whyNear}, refusal); diff != "" {
		t.Fatalf("before (-want +got):\n%s", diff)
	}
	if w.Version(leader) != 0 || w.Tied(leader) {
		t.Error("a pod without rules is tied to others")
	}
	w.Put(a, leader, 1)
	if got := w.Check(a, follower); got.Why != "" || w.Version(follower) == version {
		t.Errorf("after what it waited for came: %q, with version %d as before: %d", got.Why, w.Version(follower), version)
	}
	if got := w.Check(a, c.Class(pod("big", func(p *corev1.Pod) { p.Spec.Containers = []corev1.Container{container("9", nil)} }), "")); !got.Lasting || got.Why != "resources" {
		t.Errorf("a pod that is too large: %+v", got)
	}
}

// TestRemovedPlacesLeaveNoTrace: what was planned on a machine and taken back
// before the machine was given up does not count for a rule that is judged only
// then, neither if the next machine takes its place nor if none does.
func TestRemovedPlacesLeaveNoTrace(t *testing.T) {
	for name, early := range map[string]func(*corev1.Pod){"before any rule": nil, "after a rule": spreading(corev1.LabelTopologyZone)} {
		for _, next := range []bool{false, true} {
			c := NewCompiler()
			var first, web, db, follower, apart *Class
			for range 2 {
				first = c.Class(pod("first", awayFrom("first", hostname)), "")
				web, db = c.Class(pod("web", early), ""), c.Class(pod("db"), "")
				follower, apart = c.Class(pod("x", near("web", corev1.LabelTopologyZone)), ""), c.Class(pod("y", awayFrom("db", corev1.LabelTopologyZone)), "")
			}
			shape := &Shape{Labels: map[string]string{corev1.LabelTopologyZone: "1"}, Allocatable: machineOf(8)}
			w := NewWorld()
			a := w.Add(PlaceOf(shape, "a", shape.Allocatable, nil))
			if early != nil {
				w.Check(a, first)
			}
			gone, too := w.Add(PlaceOf(shape, "", shape.Allocatable, nil)), w.Add(PlaceOf(shape, "", shape.Allocatable, nil))
			for _, class := range []*Class{web, db} {
				w.Put(gone, class, 1)
				w.Put(too, class, 1)
			}
			for _, class := range []*Class{web, db} {
				w.Lift(gone, class, 1)
				w.Lift(too, class, 1)
			}
			w.Remove(too)
			w.Remove(gone)
			if next {
				a = w.Add(PlaceOf(shape, "", shape.Allocatable, nil))
			}
			if v := w.Check(a, follower); v.Why != whyNear {
				t.Errorf("%s, with another machine next: %t: a pod that wants to be near others is told %q", name, next, v.Why)
			}
			if v := w.Check(a, apart); v.Why != "" {
				t.Errorf("%s, with another machine next: %t: a pod that wants to be away from others is told %q", name, next, v.Why)
			}
		}
	}
}

// TestPreference: places are liked better by preferred affinity, and less for a
// taint that deters.
func TestPreference(t *testing.T) {
	c := NewCompiler()
	likes := c.Class(pod("x", func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
			{Weight: 7, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: corev1.NodeSelectorOpExists}}}},
		}}}
	}), "")
	w := NewWorld()
	ssd, plain := &Shape{Labels: map[string]string{"disk": "ssd"}}, &Shape{}
	deters := &Shape{Taints: []corev1.Taint{{Key: "old", Effect: corev1.TaintEffectPreferNoSchedule}}}
	for shape, want := range map[*Shape]int{ssd: 7, plain: 0, deters: -taintWeight} {
		if got := w.Preference(w.Add(PlaceOf(shape, "", Resources{}, nil)), likes); got != want {
			t.Errorf("%+v is liked %d, want %d", shape, got, want)
		}
	}
	if !likes.Prefers() || c.Class(pod("x"), "").Prefers() {
		t.Error("only a pod with a preference prefers places")
	}
}
