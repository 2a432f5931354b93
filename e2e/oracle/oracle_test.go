// Package oracle holds Tidegate's scheduling rules against kube-scheduler's own
// code, on generated clusters: wherever the two disagree, Tidegate is wrong.
package oracle

import (
	"flag"
	"strings"
	"testing"
	"time"

	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
)

var (
	seedFlag     = flag.Uint64("oracle.seed", 0, "first seed of the generated clusters; 0 for one from the clock")
	clustersFlag = flag.Int("oracle.clusters", 2000, "number of generated clusters")
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
	var only []string
	if *rulesFlag != "" {
		only = strings.Split(*rulesFlag, ",")
	}
	total := result{refused: map[string]int{}}
	for seed := first; seed < first+uint64(*clustersFlag); seed++ {
		c := generate(seed, only)
		r, err := compare(t.Context(), c)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		total.cases += r.cases
		total.accepted += r.accepted
		for plugin, n := range r.refused {
			total.refused[plugin] += n
		}
		if r.disagreement == "" {
			continue
		}
		small := shrink(c, func(smaller *cluster) bool {
			again, err := compare(t.Context(), smaller)
			return err == nil && again.kind == r.kind
		})
		again, err := compare(t.Context(), small)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		t.Fatalf("seed %d, after %d cases: %s: %s\n%s", seed, total.cases, again.kind, again.disagreement, small)
	}
	t.Logf("%d cases on %d clusters, no disagreement; %d accepted, refused: %v", total.cases, *clustersFlag, total.accepted, total.refused)
	if *clustersFlag < 2000 || *rulesFlag != "" {
		return
	}
	if total.cases < atLeast {
		t.Errorf("only %d cases, want %d", total.cases, atLeast)
	}
	for _, plugin := range []string{
		"PreFilter", names.NodeUnschedulable, names.TaintToleration, names.NodeAffinity, names.NodePorts, names.NodeResourcesFit,
		names.VolumeRestrictions, names.NodeVolumeLimits, names.VolumeBinding, names.VolumeZone, names.PodTopologySpread, names.InterPodAffinity,
		names.NodeDeclaredFeatures, "not judged",
	} {
		if total.refused[plugin] == 0 {
			t.Errorf("%s refused nothing: its rule was not compared", plugin)
		}
	}
}
