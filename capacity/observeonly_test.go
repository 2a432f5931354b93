package capacity

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func TestObserveOnlySaysWhatWouldHappen(t *testing.T) {
	first, second, third := types.NamespacedName{Name: "first"}, types.NamespacedName{Name: "second"}, types.NamespacedName{Name: "third"}
	later := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	got := Decision{
		Releases:  []Release{{Pod: first, UID: "1", Node: "n"}, {Pod: second, UID: "2", Why: "it waited for 1h"}},
		Grows:     []Grow{{Pool: "agents", To: 1}},
		Steps:     []Step{{Node: "n", Kind: StepMark}},
		Evictions: []Eviction{{Node: "n"}},
		Repairs:   []Repair{{Pool: "agents"}},
		Reasons:   []Reason{{Pod: third, UID: "3", Code: ReasonMaximum, Text: "agents is at its maximum of 1"}},
		NextLook:  later,
	}.ObserveOnly()
	want := Decision{
		Reasons: []Reason{
			{Pod: first, UID: "1", Code: ReasonObserveOnly, Text: "Tidegate only observes; it would release it towards node n"},
			{Pod: second, UID: "2", Code: ReasonObserveOnly, Text: "Tidegate only observes; it would release it without room: it waited for 1h"},
			{Pod: third, UID: "3", Code: ReasonObserveOnly, Text: "Tidegate only observes; it would say: agents is at its maximum of 1"},
		},
		NextLook: later,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

func TestActs(t *testing.T) {
	for name, tc := range map[string]struct {
		decision Decision
		want     bool
	}{
		"nothing to do":          {Decision{Reasons: []Reason{{}}, NextLook: time.Unix(1, 0)}, false},
		"only a proof":           {Decision{Steps: []Step{{Kind: StepProve}}}, false},
		"a pod is released":      {Decision{Releases: []Release{{}}}, true},
		"a machine is bought":    {Decision{Grows: []Grow{{}}}, true},
		"a node is marked":       {Decision{Steps: []Step{{Kind: StepMark}}}, true},
		"a machine is protected": {Decision{Protections: []Protection{{}}}, true},
		"a machine is given up":  {Decision{Repairs: []Repair{{}}}, true},
		"a pod is evicted":       {Decision{Evictions: []Eviction{{}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.decision.Acts(); got != tc.want {
				t.Errorf("acts: %t, want %t", got, tc.want)
			}
		})
	}
}
