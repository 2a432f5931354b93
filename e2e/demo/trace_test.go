package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"

func TestParseTrace(t *testing.T) {
	for name, tc := range map[string]struct {
		in      string
		pods    int
		want    *Trace
		wantErr string
	}{
		"batch pods with known times, by arrival": {
			in: header +
				"late,2000,4096,0,0,,BE,Succeeded,1100,1700,1100\n" +
				"service,1000,1024,0,0,,LS,Running,1000,9999,1000\n" +
				"unknown,1000,1024,0,0,,BE,Pending,1050,,\n" +
				"early,1000,2048,1,500,,Burstable,Succeeded,1000,1400,1000\n",
			pods: 10,
			want: &Trace{Pods: []TracePod{
				{After: 0, Run: 40 * time.Second, MilliCPU: 1000, MemoryMiB: 2048, GPUs: 1},
				{After: 10 * time.Second, Run: 60 * time.Second, MilliCPU: 2000, MemoryMiB: 4096},
			}},
		},
		"run times within 2 and 90 s, sizes within the largest machine": {
			in: header +
				"short,1,1,0,0,,BE,Succeeded,0,1,0\n" +
				"large,128000,1048576,16,1000,,BE,Succeeded,100,90000,100\n",
			pods: 10,
			want: &Trace{Clamped: 1, Pods: []TracePod{
				{Run: 2 * time.Second, MilliCPU: 1, MemoryMiB: 1},
				{After: 10 * time.Second, Run: 90 * time.Second, MilliCPU: largestMilliCPU, MemoryMiB: largestMemoryMiB, GPUs: gpusPerMachine},
			}},
		},
		"the first pods only": {
			in:   header + "a,1,1,0,0,,BE,Succeeded,0,50,0\nb,1,1,0,0,,BE,Succeeded,100,150,100\nc,1,1,0,0,,BE,Succeeded,1000,1100,1000\n",
			pods: 2,
			want: &Trace{Pods: []TracePod{
				{Run: 5 * time.Second, MilliCPU: 1, MemoryMiB: 1},
				{After: 10 * time.Second, Run: 5 * time.Second, MilliCPU: 1, MemoryMiB: 1},
			}},
		},
		"not this format":    {in: "a,b\n1,2\n", pods: 1, wantErr: "no column cpu_milli"},
		"not a number":       {in: header + "a,x,1,0,0,,BE,Succeeded,0,50,0\n", pods: 1, wantErr: `line 2: cpu_milli is "x", want a number`},
		"nothing to replay":  {in: header, pods: 1, wantErr: "no batch pods"},
		"an empty file":      {in: "", pods: 1, wantErr: "header"},
		"a line that breaks": {in: header + "a,1\n", pods: 1, wantErr: "wrong number of fields"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseTrace(strings.NewReader(tc.in), tc.pods, 10*time.Second)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want one that says %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("trace (-want +got):\n%s", diff)
			}
		})
	}
}
