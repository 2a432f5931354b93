package sim

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

var (
	seeds = flag.Int("seeds", 0, "how many seeds to run")
	seed  = flag.Uint64("seed", 0, "run this seed alone and show its log; 0 for none")
	first = flag.Uint64("first", 1, "the first of the seeds")
)

// TestSeeds breaks no promise, whatever happens.
func TestSeeds(t *testing.T) {
	if *seed != 0 {
		result := run(t, *seed, true)
		t.Log("\n" + result.Log)
		report(t, result)
		return
	}
	for s := *first; s < *first+uint64(*seeds); s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			t.Parallel()
			report(t, run(t, s, false))
		})
	}
}

func run(t *testing.T, seed uint64, log bool) (result Result) {
	synctest.Test(t, func(t *testing.T) {
		var err error
		if result, err = Run(seed, true, log); err != nil {
			t.Fatal(err)
		}
	})
	return result
}

func report(t *testing.T, r Result) {
	t.Helper()
	for _, v := range r.Violations {
		t.Error(v)
	}
	if t.Failed() {
		t.Logf("replay it: go test ./capacity/sim -run TestSeeds -v -args -seed %d", r.Seed)
	}
}

// TestASeedIsAReproduction: equal seeds take the same course, event by event.
func TestASeedIsAReproduction(t *testing.T) {
	for s := range uint64(min(*seeds, 5)) {
		t.Run(fmt.Sprint(s+1), func(t *testing.T) {
			t.Parallel()
			one, other := strings.Split(run(t, s+1, true).Log, "\n"), strings.Split(run(t, s+1, true).Log, "\n")
			for i := range min(len(one), len(other)) {
				if one[i] != other[i] {
					t.Fatalf("two runs of the seed differ after %d events:\n%s\n\n%s", i, strings.Join(one[max(0, i-5):i+1], "\n"), other[i])
				}
			}
			if len(one) != len(other) {
				t.Errorf("two runs of the seed have %d and %d events", len(one), len(other))
			}
		})
	}
}
