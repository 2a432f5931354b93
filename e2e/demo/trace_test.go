package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/internal/trace"
)

const header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"

// shown is an arrival in words, for comparison.
type shown struct {
	Name, CPU, Memory, GPUs string
	After, Run              time.Duration
}

func show(arrivals []arrival) []shown {
	var out []shown
	for _, a := range arrivals {
		s := shown{Name: a.name, CPU: a.requests.Cpu().String(), Memory: a.requests.Memory().String(), After: a.after, Run: a.run}
		if n, ok := a.requests[gpu]; ok {
			s.GPUs = n.String()
		}
		out = append(out, s)
	}
	return out
}

func TestReplayOfATrace(t *testing.T) {
	rows := header +
		"late,2000,4096,0,0,,BE,Succeeded,1100,3100,1200\n" +
		"service,2000,4096,0,0,,LS,Running,1000,9000,1000\n" +
		"pending,2000,4096,0,0,,BE,Pending,1001,,\n" +
		"running,2000,4096,0,0,,BE,Running,1002,,1003\n" +
		"early,500,1024,2,1000,,Burstable,Failed,1000,1110,1010\n" +
		"endless,500,1024,1,500,A100,BE,Succeeded,1050,99999,1060\n" +
		"blink,1500,512,0,0,,BE,Succeeded,1025,1026,1025\n"
	pods, err := trace.Read(strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	// 100 s of the trace take 10 s here.
	got := show(squeeze(pods, 10*time.Second))
	want := []shown{
		{Name: "early", CPU: "500m", Memory: "1Gi", GPUs: "2", After: 0, Run: 10 * time.Second},
		{Name: "blink", CPU: "1500m", Memory: "512Mi", After: 2500 * time.Millisecond, Run: 2 * time.Second},
		{Name: "endless", CPU: "500m", Memory: "1Gi", GPUs: "1", After: 5 * time.Second, Run: 90 * time.Second},
		{Name: "late", CPU: "2", Memory: "4Gi", After: 10 * time.Second, Run: 90 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("arrivals (-want +got):\n%s", diff)
	}
}

func TestOnePodArrivesAtOnce(t *testing.T) {
	pods, err := trace.Read(strings.NewReader(header + "only,500,1024,0,0,,BE,Succeeded,777,800,780\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := squeeze(pods, time.Minute); len(got) != 1 || got[0].after != 0 || got[0].run != longestRun {
		t.Errorf("got %+v, want one arrival at 0 that runs %s", got, longestRun)
	}
}

func TestSizesAreClampedToTheLargestMachine(t *testing.T) {
	for name, tc := range map[string]struct {
		row  string
		want shown
		said []string
	}{
		"fits": {
			row:  "p,15000,2048,0,0,,BE,Succeeded,0,1,0",
			want: shown{Name: "p", CPU: "15", Memory: "2Gi"},
		},
		"too many CPUs": {
			row:  "p,88000,2048,0,0,,BE,Succeeded,0,1,0",
			want: shown{Name: "p", CPU: "15550m", Memory: "2Gi"},
			said: []string{"cpu 88 to 15550m"},
		},
		"a GPU machine is larger": {
			row:  "p,88000,2048,8,1000,,BE,Succeeded,0,1,0",
			want: shown{Name: "p", CPU: "88", Memory: "2Gi", GPUs: "8"},
		},
		"too many GPUs": {
			row:  "p,1000,2048,16,1000,,BE,Succeeded,0,1,0",
			want: shown{Name: "p", CPU: "1", Memory: "2Gi", GPUs: "8"},
			said: []string{"nvidia.com/gpu 16 to 8"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pods, err := trace.Read(strings.NewReader(header + tc.row + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			a := arrival{name: "p", requests: pods[0].Requests}
			said := a.clamp(largest(a.requests))
			if diff := cmp.Diff(tc.said, said); diff != "" {
				t.Errorf("said (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, show([]arrival{a})[0]); diff != "" {
				t.Errorf("clamped (-want +got):\n%s", diff)
			}
		})
	}
}
