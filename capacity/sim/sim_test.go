package sim

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

var (
	seeds = flag.Int("seeds", 200, "how many seeds to run")
	seed  = flag.Uint64("seed", 0, "run this seed alone and show its log; 0 for none")
	first = flag.Uint64("first", 1, "the first of the seeds")
	step  = flag.Uint64("step", 0, "run every so many-th seed, in this very process; 0 for all, in a process for each core")
)

// TestMain has garbage collected by its amount: the worlds are small and short.
// controller-runtime keeps whatever asks for its logger until there is one, which would
// be all webhooks that ever were.
func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(192 << 20)
	os.Exit(m.Run())
}

// TestSeeds breaks no promise, whatever happens.
func TestSeeds(t *testing.T) {
	switch {
	case *seed != 0:
		check(t, *seed, true)
		return
	case *step == 0:
		inProcesses(t, runtime.NumCPU())
		return
	}
	for s := *first; s < *first+uint64(*seeds); s += *step {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			t.Parallel()
			check(t, s, false)
		})
	}
}

// inProcesses runs the seeds in n processes of one thread each. The goroutines of a
// seed take turns: with a second thread each turn would wake that one for nothing,
// which takes a third of the time.
func inProcesses(t *testing.T, n int) {
	left := time.Duration(0) // for ever
	if deadline, ok := t.Deadline(); ok {
		left = time.Until(deadline)
	}
	for i := range n {
		t.Run(fmt.Sprintf("every %d from %d", n, *first+uint64(i)), func(t *testing.T) {
			t.Parallel()
			own := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSeeds$", "-test.timeout="+left.String(),
				fmt.Sprintf("-first=%d", *first+uint64(i)), fmt.Sprintf("-seeds=%d", *seeds-i), fmt.Sprintf("-step=%d", n))
			own.Env = append(os.Environ(), "GOMAXPROCS=1")
			if out, err := own.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// check takes the course of a seed, and says how to see it again if a promise
// was broken.
func check(t *testing.T, seed uint64, log bool) {
	faulty := run(t, seed, true, log)
	if log {
		t.Log("\n" + faulty.Log)
	}
	for _, v := range faulty.Violations {
		t.Error(v)
	}
	if seed%costOf == 0 && !t.Failed() {
		compareCost(t, run(t, seed, false, false), faulty)
	}
	if t.Failed() {
		t.Logf("replay it: go test ./capacity/sim -run TestSeeds -v -args -seed %d", seed)
	}
}

// costOf is of how many seeds one is run without faults too: it costs time.
const costOf = 8

// compareCost holds what machines cost with faults against the same work
// without. While requests take minutes, leaders come and go and the policy is
// away, machines stay that were needed once; what must not happen is that they
// are bought again and again, or forgotten.
func compareCost(t *testing.T, calm, faulty Result) {
	t.Helper()
	for _, v := range calm.Violations {
		t.Errorf("without faults: %s", v)
	}
	const factor = 8
	stay := time.Duration(calm.Peak) * trouble
	if faulty.MachineTime > factor*calm.MachineTime+stay {
		t.Errorf("machines ran for %s core-hours, and for %s without faults, when there were %d cores at most", faulty.MachineTime, calm.MachineTime, calm.Peak)
	}
}

func run(t *testing.T, seed uint64, faulty, log bool) (result Result) {
	synctest.Test(t, func(t *testing.T) {
		var err error
		if result, err = Run(seed, faulty, log); err != nil {
			t.Fatal(err)
		}
	})
	return result
}

// repeatOf is of how many seeds one is run twice.
const repeatOf = 40

// TestASeedIsAReproduction: equal seeds take the same course, event by event.
func TestASeedIsAReproduction(t *testing.T) {
	for s := *first; s < *first+uint64(*seeds); s += repeatOf {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			t.Parallel()
			one, other := strings.Split(run(t, s, true, true).Log, "\n"), strings.Split(run(t, s, true, true).Log, "\n")
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
