package oracle

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/capacity"
)

var marketsFlag = flag.Int("oracle.markets", 300, "number of generated clusters to plan for")

// TestPlan carries out plans: what is released the scheduler places in one go,
// and what is bought it fills, so that in the end every pod runs for which the
// first plan had a place.
func TestPlan(t *testing.T) {
	first := *seedFlag
	if first == 0 {
		first = uint64(time.Now().UnixNano() % 1e9)
	}
	t.Logf("first seed %d; to repeat: go test ./oracle -run TestPlan -oracle.seed=%d -oracle.markets=%d", first, first, *marketsFlag)
	var total trade
	for seed := first; seed < first+uint64(*marketsFlag); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			total.add(carryOut(t, generateMarket(seed)))
		})
	}
	t.Logf("%+v", total)
	if *marketsFlag >= 300 && (total.Released == 0 || total.Bought == 0) {
		t.Error("nothing was released or nothing was bought")
	}
}

// trade is what came of plans.
type trade struct{ Pods, Planned, Released, Bought, Rounds int }

func (t *trade) add(o trade) {
	t.Pods += o.Pods
	t.Planned += o.Planned
	t.Released += o.Released
	t.Bought += o.Bought
	t.Rounds += o.Rounds
}

// mostRounds is more than any plan needs: one for what is there, one for what
// is bought, and further ones where pods wait for others to be there first.
const mostRounds = 12

func carryOut(t *testing.T, m *market) trade {
	l := startLive(t, m.all())
	result := trade{Pods: len(m.Incoming)}
	planned := map[types.UID]capacity.Placement{}
	for round := range mostRounds {
		m.now = m.now.Add(time.Second)
		pods := m.current(t, l)
		decision := capacity.Plan(m.snapshot(pods))
		if round == 0 {
			for _, p := range decision.Placements {
				planned[p.UID] = p
			}
			result.Planned = len(planned)
		}
		if len(decision.Releases) == 0 && len(decision.Grows) == 0 {
			result.Rounds = round
			break
		}
		result.Released += len(decision.Releases)
		m.release(t, l, decision.Releases, round)
		result.Bought += m.grow(t, l, decision.Grows)
	}
	if left := m.unplaced(t, l, planned); len(left) > 0 {
		t.Errorf("pods for which the first plan had a place and that do not run:\n%s\n%s", strings.Join(left, "\n"), m)
	}
	return result
}

// current are all pods as they are now.
func (m *market) current(t *testing.T, l *live) []*corev1.Pod {
	t.Helper()
	var pods []*corev1.Pod
	for _, list := range [][]*corev1.Pod{m.Pods, m.Incoming} {
		for _, p := range list {
			now, err := l.pod(p.Namespace, p.Name)
			if err != nil {
				t.Fatal(err)
			}
			pods = append(pods, now)
		}
	}
	return pods
}

// release carries out the releases, and fails unless all pods are placed.
func (m *market) release(t *testing.T, l *live, releases []capacity.Release, round int) {
	t.Helper()
	var keys []types.NamespacedName
	for _, r := range releases {
		if err := l.release(r.Pod, r.Node); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, r.Pod)
	}
	pending, err := l.settle(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	if len(pending) > 0 {
		t.Fatalf("round %d, of %d pods that were released the scheduler left pending:\n%s\n%s", round, len(keys), strings.Join(pending, "\n"), m)
	}
}

// grow buys the machines, which are ready nodes at once.
func (m *market) grow(t *testing.T, l *live, grows []capacity.Grow) int {
	t.Helper()
	bought := 0
	for _, g := range grows {
		for _, p := range m.pools {
			for p.Name == g.Pool && p.Capacity < g.To {
				if err := l.addNode(m.buy(p)); err != nil {
					t.Fatal(err)
				}
				bought++
			}
		}
	}
	return bought
}

// unplaced are the pods that were planned and have no node.
func (m *market) unplaced(t *testing.T, l *live, planned map[types.UID]capacity.Placement) []string {
	t.Helper()
	var left []string
	for _, p := range m.current(t, l) {
		if placement, ok := planned[p.UID]; ok && p.Spec.NodeName == "" {
			left = append(left, fmt.Sprintf("%s: %+v", p.Name, placement))
		}
	}
	return left
}
