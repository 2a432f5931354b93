package trace_test

import (
	"strings"
	"testing"

	"github.com/tidegate-k3s/tidegate/internal/trace"
)

const header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"

func TestTracesThatCannotBeRead(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"empty":            {"", "header"},
		"another format":   {"time,value\n1,2\n", `no column "name"`},
		"not a number":     {header + "p,many,1024,0,0,,BE,Succeeded,1,2,1\n", `line 2 of the trace, pod p: cpu_milli "many"`},
		"a negative size":  {header + "p,1,-5,0,0,,BE,Succeeded,1,2,1\n", `memory_mib "-5": it is negative`},
		"no creation time": {header + "p,1,1,0,0,,BE,Succeeded,,2,1\n", `creation_time ""`},
		"a short row":      {header + "p,1\n", "wrong number of fields"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := trace.Read(strings.NewReader(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}
