package replay_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/bench/replay"
	"github.com/tidegate-k3s/tidegate/internal/trace"
)

func cpus(n int64) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(n, resource.DecimalSI)}
}

// pod comes at that second and runs for so many.
func pod(name string, n, comes, runs int64) trace.Pod {
	return trace.Pod{Name: name, Requests: cpus(n), Created: comes, Scheduled: comes, Deleted: comes + runs}
}

func TestRun(t *testing.T) {
	// After its last pod a machine stays for as long as it took to boot, and takes
	// half a minute to go.
	const around = 2*replay.Boot + 30*time.Second
	machine := cpus(4)
	machine[corev1.ResourcePods] = resource.MustParse("110")
	pools := []replay.Pool{{Name: "cpu", Offers: machine}}
	// When the last pod comes, one pod is left on the first machine, which ends long
	// after the two on the second.
	lastHasAChoice := []trace.Pod{
		pod("long", 2, 0, 3000), pod("tiny", 2, 1, 200), pod("one", 2, 2, 1000), pod("other", 1, 3, 1000), pod("last", 1, 500, 2000),
	}
	waits := []time.Duration{0, replay.Boot - time.Second, replay.Boot - time.Second, replay.Boot, replay.Boot}
	type bill struct {
		Machines    int
		Paid, Least time.Duration
		Waits       []time.Duration
	}
	for name, tc := range map[string]struct {
		pods  []trace.Pod
		hints bool
		want  bill
		left  int
	}{
		"one pod": {
			pods: []trace.Pod{pod("a", 1, 0, 600)},
			want: bill{Machines: 1, Paid: 600*time.Second + around, Least: 600 * time.Second, Waits: []time.Duration{replay.Boot}},
		},
		"the second finds the machine that idles": {
			pods: []trace.Pod{pod("a", 3, 0, 600), pod("b", 3, 710, 100)},
			want: bill{
				Machines: 1, Paid: 810*time.Second + around - replay.Boot, Least: 700 * time.Second,
				Waits: []time.Duration{0, replay.Boot},
			},
		},
		"the second comes too late": {
			pods: []trace.Pod{pod("a", 3, 0, 600), pod("b", 3, 900, 100)},
			want: bill{
				Machines: 2, Paid: 700*time.Second + 2*around, Least: 700 * time.Second,
				Waits: []time.Duration{replay.Boot, replay.Boot},
			},
		},
		"one that no machine holds": {
			pods: []trace.Pod{pod("a", 5, 0, 600), pod("b", 1, 0, 60)},
			want: bill{Machines: 1, Paid: time.Minute + around, Least: time.Minute, Waits: []time.Duration{replay.Boot}},
			left: 1,
		},
		"it joins the more numerous pods": {
			pods: lastHasAChoice,
			want: bill{
				Machines: 2, Paid: 3000*time.Second + around + 2408*time.Second + around, Least: 4000 * time.Second,
				Waits: waits,
			},
		},
		"it joins the pod that is known to run longest": {
			pods:  lastHasAChoice,
			hints: true,
			want:  bill{Machines: 2, Paid: 4000*time.Second + 2*around, Least: 4000 * time.Second, Waits: waits},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bills, left, err := replay.Run(tc.pods, pools, tc.hints)
			if err != nil {
				t.Fatal(err)
			}
			got := bill{bills[0].Machines, bills[0].Paid, bills[0].Least, bills[0].Waits}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("bill (-want +got):\n%s", diff)
			}
			if left != tc.left {
				t.Errorf("%d pods were left out, want %d", left, tc.left)
			}
		})
	}
}
