package fit

import (
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cluster is one of 5,000 nodes in three zones with ten pods each.
type cluster struct {
	compiler *Compiler
	shapes   []*Shape
	standing [][]Count
	waiting  *Class
}

func labelled(app string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "work", Labels: map[string]string{"app": app, "controller-uid": app + "-1", "job-name": app}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{container("500m", nil)},
			Tolerations: []corev1.Toleration{
				{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
				{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
			},
		},
	}
	if change != nil {
		change(p)
	}
	return p
}

func spreading(key string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": p.Labels["app"]}},
		})
	}
}

// apart keeps pods of the same app on different nodes.
func apart(p *corev1.Pod) {
	p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
		TopologyKey: hostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": p.Labels["app"]}},
	}}}}
}

func newCluster(waiting *corev1.Pod) *cluster {
	c := &cluster{compiler: NewCompiler()}
	for range 2 { // the second time every selector is known
		c.waiting = c.compiler.Class(waiting, "")
	}
	var classes []*Class
	for _, app := range []string{"web", "db", "batch", "cache"} {
		classes = append(classes, c.compiler.Bound(labelled(app, nil)))
	}
	for i := range 5000 {
		name := "node-" + strconv.Itoa(i)
		c.shapes = append(c.shapes, &Shape{Allocatable: machineOf(8), Labels: map[string]string{
			hostname: name, corev1.LabelTopologyZone: strconv.Itoa(i % 3), corev1.LabelArchStable: "amd64", corev1.LabelOSStable: "linux",
		}})
		c.standing = append(c.standing, []Count{{Class: classes[i%4], N: 6}, {Class: classes[(i+1)%4], N: 3}, {Class: classes[(i+2)%4], N: 1}})
	}
	return c
}

func (c *cluster) world() (*World, []*Place) {
	w := NewWorld()
	places := make([]*Place, len(c.shapes))
	for i, shape := range c.shapes {
		places[i] = w.Add(PlaceOf(shape, shape.Labels[hostname], shape.Allocatable, c.standing[i]))
	}
	return w, places
}

// BenchmarkWorld is the making of a world of 5,000 nodes with 50,000 pods, and
// the first verdict in it.
func BenchmarkWorld(b *testing.B) {
	for name, change := range map[string]func(*corev1.Pod){
		"no rule": nil, "spread over zones": spreading(corev1.LabelTopologyZone), "spread over nodes": spreading(hostname), "apart": apart,
	} {
		b.Run(name, func(b *testing.B) {
			c := newCluster(labelled("web", change))
			b.ReportAllocs()
			for b.Loop() {
				w, places := c.world()
				w.Check(places[0], c.waiting)
			}
		})
	}
}

// BenchmarkCheck is one more verdict.
func BenchmarkCheck(b *testing.B) {
	for name, change := range map[string]func(*corev1.Pod){
		"full node": func(p *corev1.Pod) { p.Spec.Containers = []corev1.Container{container("99", nil)} },
		"no rule":   nil,
		"selector": func(p *corev1.Pod) {
			p.Spec.NodeSelector = map[string]string{corev1.LabelArchStable: "amd64"}
		},
		"spread over nodes": spreading(hostname),
		"apart":             apart,
	} {
		b.Run(name, func(b *testing.B) {
			c := newCluster(labelled("web", change))
			w, places := c.world()
			w.Check(places[0], c.waiting)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				w.Check(places[i%len(places)], c.waiting)
				i++
			}
		})
	}
}

// BenchmarkPut is a verdict, a planned pod and the taking back of it.
func BenchmarkPut(b *testing.B) {
	for name, change := range map[string]func(*corev1.Pod){"no rule": nil, "spread over zones": spreading(corev1.LabelTopologyZone), "apart": apart} {
		b.Run(name, func(b *testing.B) {
			c := newCluster(labelled("web", change))
			w, places := c.world()
			w.Check(places[0], c.waiting)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p := places[i%len(places)]
				w.Check(p, c.waiting)
				w.Put(p, c.waiting, 1)
				w.Lift(p, c.waiting, 1)
				i++
			}
		})
	}
}

// BenchmarkEachItsOwn is a world in which 10,000 pods each have a rule of their
// own, and one node each.
func BenchmarkEachItsOwn(b *testing.B) {
	for name, change := range map[string]func(*corev1.Pod){"spread": spreading(hostname), "apart": apart} {
		b.Run(name, func(b *testing.B) {
			c := NewCompiler()
			var classes []*Class
			for range 2 {
				classes = nil
				for i := range 10000 {
					classes = append(classes, c.Class(labelled(fmt.Sprint("app-", i), change), ""))
				}
			}
			shape := &Shape{Allocatable: machineOf(8), Labels: map[string]string{corev1.LabelTopologyZone: "1"}}
			b.ReportAllocs()
			for b.Loop() {
				w := NewWorld()
				for _, class := range classes {
					p := w.Add(PlaceOf(shape, "", shape.Allocatable, nil))
					if v := w.Check(p, class); v.Why != "" {
						b.Fatal(v)
					}
					w.Put(p, class, 1)
				}
			}
		})
	}
}

// BenchmarkCompile is one pod whose class is known.
func BenchmarkCompile(b *testing.B) {
	for name, change := range map[string]func(*corev1.Pod){"no rule": nil, "spread over zones": spreading(corev1.LabelTopologyZone), "apart": apart} {
		b.Run(name, func(b *testing.B) {
			c := NewCompiler()
			pod := labelled("web", change)
			b.ReportAllocs()
			for b.Loop() {
				c.Class(pod, "")
			}
		})
	}
}
