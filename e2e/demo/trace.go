package demo

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

const (
	// shortest and longest bound the run times of a replayed pod.
	shortest = 2 * time.Second
	longest  = 90 * time.Second
	gpu      = corev1.ResourceName("nvidia.com/gpu")
	// gpusPerMachine is what a machine of the replay's GPU pool has.
	gpusPerMachine = 8
)

// The largest machine of the replay's pools, less what its agent and the
// DaemonSet take: what a pod is clamped to.
const (
	largestMilliCPU  = 64*975 - 100
	largestMemoryMiB = 256*1024*95/100 - 100
)

// traceSets are the replay's pools: machines with and without GPUs.
func traceSets() []emulator.ScaleSet {
	return []emulator.ScaleSet{
		poolOf("agents", "Standard_D64s_v5", 20, emulator.Shape{VCPUs: 64, MemoryGiB: 256}, nil),
		poolOf("gpu", "Standard_ND96", 20, emulator.Shape{VCPUs: 64, MemoryGiB: 256},
			corev1.ResourceList{gpu: *resource.NewQuantity(gpusPerMachine, resource.DecimalSI)}),
	}
}

// Trace is a list of pods to replay, in the order of their arrival.
type Trace struct {
	Pods []TracePod
	// Clamped is how many pods asked for more than the largest machine has.
	Clamped int
}

// TracePod is one pod of a trace.
type TracePod struct {
	// After is when the pod arrives, from the start of the replay.
	After time.Duration
	// Run is how long it runs.
	Run                 time.Duration
	MilliCPU, MemoryMiB int64
	GPUs                int64
}

// ReadTrace reads the first so many batch pods of a file in the format of the
// Alibaba cluster trace gpu-v2023: those with quality of service BE or Burstable
// whose times are known. Arrivals are squeezed into the duration and run times
// by the same factor, within 2 and 90 s. A share of a GPU counts as a whole one,
// since nvidia.com/gpu cannot be divided.
func ReadTrace(path string, pods int, duration time.Duration) (*Trace, error) {
	if pods < 1 || duration <= 0 {
		return nil, fmt.Errorf("%d pods in %s cannot be replayed: give at least one pod and a positive duration", pods, duration)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the trace: %w", err)
	}
	defer file.Close()
	trace, err := parseTrace(file, pods, duration)
	if err != nil {
		return nil, fmt.Errorf("read the trace %s: %w", path, err)
	}
	return trace, nil
}

// row is a batch pod as the trace has it; times in seconds.
type row struct {
	created, scheduled, deleted int64
	pod                         TracePod
}

func parseTrace(in io.Reader, pods int, duration time.Duration) (*Trace, error) {
	reader := csv.NewReader(in)
	header, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	column := map[string]int{}
	for i, name := range header {
		column[name] = i
	}
	for _, name := range []string{"cpu_milli", "memory_mib", "num_gpu", "qos", "creation_time", "deletion_time", "scheduled_time"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("it has no column %s", name)
		}
	}
	var rows []row
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		r, batch, err := parseRow(record, column)
		if err != nil {
			line, _ := reader.FieldPos(0)
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if batch {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return nil, errors.New("it has no batch pods with known times")
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.created, b.created) })
	return squeeze(rows[:min(pods, len(rows))], duration), nil
}

// parseRow reads one pod and reports whether it is a batch pod whose times are
// known.
func parseRow(record []string, column map[string]int) (row, bool, error) {
	var r row
	if qos := record[column["qos"]]; qos != "BE" && qos != "Burstable" ||
		record[column["scheduled_time"]] == "" || record[column["deletion_time"]] == "" {
		return r, false, nil
	}
	for name, field := range map[string]*int64{
		"cpu_milli": &r.pod.MilliCPU, "memory_mib": &r.pod.MemoryMiB, "num_gpu": &r.pod.GPUs,
		"creation_time": &r.created, "scheduled_time": &r.scheduled, "deletion_time": &r.deleted,
	} {
		n, err := strconv.ParseInt(record[column[name]], 10, 64)
		if err != nil || n < 0 {
			return r, false, fmt.Errorf("%s is %q, want a number", name, record[column[name]])
		}
		*field = n
	}
	return r, true, nil
}

// squeeze fits the rows into the duration and the machines.
func squeeze(rows []row, duration time.Duration) *Trace {
	first := rows[0].created
	span := max(1, rows[len(rows)-1].created-first)
	factor := duration.Seconds() / float64(span)
	trace := &Trace{}
	for _, r := range rows {
		p := r.pod
		p.After = time.Duration(float64(r.created-first) * factor * float64(time.Second))
		run := time.Duration(float64(r.deleted-r.scheduled) * factor * float64(time.Second))
		p.Run = min(max(run, shortest), longest)
		if p.MilliCPU > largestMilliCPU || p.MemoryMiB > largestMemoryMiB || p.GPUs > gpusPerMachine {
			trace.Clamped++
			p.MilliCPU, p.MemoryMiB, p.GPUs = min(p.MilliCPU, largestMilliCPU), min(p.MemoryMiB, largestMemoryMiB), min(p.GPUs, gpusPerMachine)
		}
		trace.Pods = append(trace.Pods, p)
	}
	return trace
}

// replay submits each pod as a Job of one, as batch systems do, at its time.
func (d *demo) replay(ctx context.Context, trace *Trace) error {
	d.view.line(fmt.Sprintf("replaying %d pods; %d asked for more than the largest machine has and were clamped to it", len(trace.Pods), trace.Clamped))
	started := time.Now()
	for i, p := range trace.Pods {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(started.Add(p.After))):
		}
		j := job(fmt.Sprintf("trace-%04d", i), 1, fmt.Sprintf("%dm", p.MilliCPU), p.Run, nil)
		requests := j.Spec.Template.Spec.Containers[0].Resources.Requests
		requests[corev1.ResourceMemory] = *resource.NewQuantity(p.MemoryMiB<<20, resource.BinarySI)
		if p.GPUs > 0 {
			requests[gpu] = *resource.NewQuantity(p.GPUs, resource.DecimalSI)
			j.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{gpu: requests[gpu]}
		}
		if err := d.submit(ctx, j); err != nil {
			return err
		}
	}
	return nil
}
