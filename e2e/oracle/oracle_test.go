// Package oracle holds Tidegate's scheduling rules against kube-scheduler's own
// code, on generated clusters: wherever the two disagree, Tidegate is wrong.
package oracle

import (
	"flag"
	"strings"
	"testing"
	"time"
)

var (
	seedFlag     = flag.Uint64("oracle.seed", 0, "first seed of the generated clusters; 0 for one from the clock")
	clustersFlag = flag.Int("oracle.clusters", 300, "number of generated clusters")
	rulesFlag    = flag.String("oracle.rules", "", "comma-separated rules to generate, empty for all")
)

// atLeast is the least number of (pod, node) cases that a run has to judge.
const atLeast = 20_000

// TestFit judges pods on nodes with fit and with kube-scheduler's framework.
func TestFit(t *testing.T) {
	first := *seedFlag
	if first == 0 {
		first = uint64(time.Now().UnixNano() % 1e9)
	}
	t.Logf("first seed %d; to repeat: go test ./oracle -run TestFit -oracle.seed=%d -oracle.clusters=%d", first, first, *clustersFlag)
	var names []string
	if *rulesFlag != "" {
		names = strings.Split(*rulesFlag, ",")
	}
	cases := 0
	for seed := first; seed < first+uint64(*clustersFlag); seed++ {
		c := generate(seed, names)
		r, err := compare(t.Context(), c)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		cases += r.cases
		if r.disagreement == "" {
			continue
		}
		small := shrink(c, func(smaller *cluster) bool {
			again, err := compare(t.Context(), smaller)
			return err == nil && again.disagreement != "" && again.rule == r.rule
		})
		again, err := compare(t.Context(), small)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		t.Fatalf("seed %d, after %d cases, plugin %s: %s\n%s", seed, cases, r.rule, again.disagreement, small)
	}
	t.Logf("%d cases on %d clusters, no disagreement", cases, *clustersFlag)
	if *clustersFlag >= 300 && cases < atLeast {
		t.Errorf("only %d cases, want %d", cases, atLeast)
	}
}
