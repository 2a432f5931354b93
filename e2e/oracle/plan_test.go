package oracle

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/tidegate-k3s/tidegate/capacity"
)

var marketsFlag = flag.Int("oracle.markets", 300, "number of generated clusters to plan for")

// TestPlan carries out plans: what is released the scheduler places in one go,
// and what is bought it fills, so that in the end every pod has run for which
// the first plan had a place. Pods end only when nothing else is left to do.
func TestPlan(t *testing.T) {
	first := *seedFlag
	if first == 0 {
		first = uint64(time.Now().UnixNano() % 1e9)
	}
	t.Logf("first seed %d; to repeat: go test ./oracle -run TestPlan -oracle.seed=%d -oracle.markets=%d", first, first, *marketsFlag)
	var total trade
	var failures []string
	t.Run("market", func(t *testing.T) {
		var mu sync.Mutex
		for seed := first; seed < first+uint64(*marketsFlag); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel() // most of the time is the scheduler's start
				result, err := carryOut(t, generateMarket(seed))
				mu.Lock()
				defer mu.Unlock()
				total.add(result)
				if err != nil {
					failures = append(failures, fmt.Sprintf("seed %d: %v", seed, err))
				}
			})
		}
	})
	t.Logf("%+v", total)
	if len(failures) > 0 {
		t.Errorf("%d of %d markets went wrong; the first:\n%s", len(failures), *marketsFlag, failures[0])
	}
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

// mostRounds is more than any market needs: for what is there, for what is
// bought, and for what waits for other pods to come or to end.
const mostRounds = 40

func carryOut(t *testing.T, m *market) (trade, error) {
	l := startLive(t, m.all())
	result := trade{Pods: len(m.Incoming)}
	planned := map[types.UID]capacity.Placement{}
	var reasons []capacity.Reason
	for round := range mostRounds {
		m.now = m.now.Add(time.Second)
		pods := m.current(t, l)
		snapshot := m.snapshot(pods)
		decision := capacity.Plan(snapshot)
		reasons = decision.Reasons
		if round == 0 {
			for _, p := range capacity.Placements(snapshot) {
				planned[p.UID] = p
			}
			result.Planned = len(planned)
		}
		if len(decision.Releases) == 0 && len(decision.Grows) == 0 && m.finish(t, l) == 0 {
			result.Rounds = round
			break
		}
		result.Released += len(decision.Releases)
		if err := m.release(t, l, decision.Releases, round); err != nil {
			return result, err
		}
		result.Bought += m.grow(t, l, decision.Grows)
	}
	if left := m.unplaced(t, l, planned, reasons); len(left) > 0 {
		return result, fmt.Errorf("pods for which the first plan had a place and that do not run:\n%s\n%s", strings.Join(left, "\n"), m)
	}
	return result, nil
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

// release carries out the releases, and returns an error unless all pods are
// placed.
func (m *market) release(t *testing.T, l *live, releases []capacity.Release, round int) error {
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
		var where []string
		for _, p := range m.current(t, l) {
			if p.Spec.NodeName != "" {
				where = append(where, p.Name+" is on "+p.Spec.NodeName)
			}
		}
		return fmt.Errorf("round %d, of the pods that were released, %+v, the scheduler left pending:\n%s\n%s\n%s", round, releases, strings.Join(pending, "\n"), strings.Join(where, "\n"), m)
	}
	return nil
}

// grow buys the machines, which are ready nodes at once.
func (m *market) grow(t *testing.T, l *live, grows []capacity.Grow) int {
	t.Helper()
	var bought []*corev1.Node
	for _, g := range grows {
		for _, p := range m.pools {
			for p.Name == g.Pool && p.Capacity < g.To {
				bought = append(bought, m.buy(p))
			}
		}
	}
	if err := l.addNodes(t.Context(), bought); err != nil {
		t.Fatal(err)
	}
	return len(bought)
}

// finish ends all pods of jobs that run, and returns how many.
func (m *market) finish(t *testing.T, l *live) int {
	t.Helper()
	before := len(m.ended)
	var left []*corev1.Pod
	for _, p := range m.Incoming {
		now, err := l.pod(p.Namespace, p.Name)
		if err != nil {
			t.Fatal(err)
		}
		if now.Spec.NodeName == "" {
			left = append(left, p)
			continue
		}
		m.ended = append(m.ended, p)
		if err := l.remove(now); err != nil {
			t.Fatal(err)
		}
	}
	m.Incoming = left
	return len(m.ended) - before
}

// unplaced are the pods that were planned and have not run.
func (m *market) unplaced(t *testing.T, l *live, planned map[types.UID]capacity.Placement, reasons []capacity.Reason) []string {
	t.Helper()
	var left []string
	for _, p := range m.current(t, l) {
		placement, ok := planned[p.UID]
		if ok && p.Spec.NodeName == "" && !m.missed(t, p) {
			why := ""
			if i := slices.IndexFunc(reasons, func(r capacity.Reason) bool { return r.UID == p.UID }); i >= 0 {
				why = reasons[i].Text
			}
			left = append(left, fmt.Sprintf("%s was to go to %q, machine %d of pool %q; now: %s", p.Name, placement.Node, placement.Machine, placement.Pool, why))
		}
	}
	return left
}

// missed reports whether the pod has to be near one that has ended: older pods
// may take a machine that was not bought for them, and whoever waits for the
// next one may come too late.
func (m *market) missed(t *testing.T, p *corev1.Pod) bool {
	t.Helper()
	info, err := framework.NewPodInfo(p)
	if err != nil {
		t.Fatal(err)
	}
	terms := info.GetRequiredAffinityTerms()
	return len(terms) > 0 && slices.ContainsFunc(m.ended, func(ended *corev1.Pod) bool {
		namespace := first(&m.cluster, func(n *corev1.Namespace) bool { return n.Name == ended.Namespace })
		return !slices.ContainsFunc(terms, func(t fwk.AffinityTerm) bool { return !t.Matches(ended, namespace.Labels) })
	})
}
