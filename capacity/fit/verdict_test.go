package fit

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// anyRule is a rule about pods of some app, along zones or hosts, or none.
func anyRule(random *rand.Rand) func(*corev1.Pod) {
	app, key := pick(random, "a", "b"), pick(random, zoneLabel, hostname)
	return pick(random, near(app, key), awayFrom(app, key), spreading(key), func(*corev1.Pod) {})
}

// TestRefusalsReachAsFarAsTheySay: whoever is refused in all of a zone finds no
// place there, and whoever is refused for good finds none there however many pods
// are planned.
func TestRefusalsReachAsFarAsTheySay(t *testing.T) {
	lasting, zonewide := 0, 0
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		var pods []*corev1.Pod
		for range 6 {
			pods = append(pods, pod(pick(random, "a", "b"), anyRule(random)))
		}
		c := NewCompiler()
		classes := make([]*Class, len(pods))
		for range 2 { // at first it does not know which labels selectors look at
			for i, p := range pods {
				classes[i] = c.Class(p, "")
			}
		}
		w := NewWorld()
		type where struct {
			zone   string
			exists bool
		}
		var places []*Place
		var at []where
		for i := range 12 {
			name, in := "", where{pick(random, "1", "2", "3"), random.IntN(2) == 0}
			labels := map[string]string{zoneLabel: in.zone}
			if in.exists {
				name = fmt.Sprint("node-", i)
				labels[hostname] = name
			}
			shape := &Shape{Labels: labels, Allocatable: machineOf(4)}
			places, at = append(places, w.Add(PlaceOf(shape, name, shape.Allocatable, nil))), append(at, in)
		}
		refused := map[*Place]map[*Class]bool{}
		for range 60 {
			i, class := random.IntN(len(places)), pick(random, classes...)
			v := w.Check(places[i], class)
			if v.Why == "" {
				w.Put(places[i], class, 1)
			}
			if v.Zonewide {
				zonewide++
				for j, other := range places {
					if at[j] == at[i] && w.Check(other, class).Why == "" {
						t.Fatalf("seed %d: refused in all of zone %s (%q), and yet not on each place there", seed, at[i].zone, v.Why)
					}
				}
			}
			if v.Lasting {
				lasting++
				if refused[places[i]] == nil {
					refused[places[i]] = map[*Class]bool{}
				}
				refused[places[i]][class] = true
			}
			for p, classes := range refused {
				for class := range classes {
					if w.Check(p, class).Why == "" {
						t.Fatalf("seed %d: refused for good, and not any more", seed)
					}
				}
			}
		}
	}
	if lasting == 0 || zonewide == 0 {
		t.Errorf("%d refusals for good and %d in all of a zone: the test has seen nothing", lasting, zonewide)
	}
}
