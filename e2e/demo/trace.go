package demo

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The run times of a replay: shorter ones would measure the cluster, longer
// ones the reader's patience.
const (
	shortestRun = 2 * time.Second
	longestRun  = 90 * time.Second
)

// traced is a batch pod of a trace. Times are seconds from the trace's start.
type traced struct {
	name                        string
	requests                    corev1.ResourceList
	created, scheduled, deleted int64
}

// readTrace returns the batch pods of a trace, oldest first: those with QoS
// class BE or Burstable of which both start and end are known. The format is
// that of the pod lists of the Alibaba cluster trace gpu-v2023.
func readTrace(r io.Reader) ([]traced, error) {
	rows := csv.NewReader(r)
	header, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("read the trace's header: %w", err)
	}
	column := map[string]int{}
	for i, name := range header {
		column[name] = i
	}
	for _, name := range []string{"name", "cpu_milli", "memory_mib", "num_gpu", "qos", "creation_time", "deletion_time", "scheduled_time"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("the trace has no column %q: is it a pod list of the format gpu-v2023?", name)
		}
	}
	var pods []traced
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the trace: %w", err)
		}
		field := func(name string) string { return row[column[name]] }
		batch := field("qos") == "BE" || field("qos") == "Burstable"
		if !batch || field("scheduled_time") == "" || field("deletion_time") == "" {
			continue
		}
		pod, err := parseTraced(field)
		if err != nil {
			line, _ := rows.FieldPos(0)
			return nil, fmt.Errorf("line %d of the trace, pod %s: %w", line, field("name"), err)
		}
		pods = append(pods, pod)
	}
	slices.SortStableFunc(pods, func(a, b traced) int { return cmp.Compare(a.created, b.created) })
	return pods, nil
}

func parseTraced(field func(string) string) (traced, error) {
	var errs []error
	number := func(name string) int64 {
		n, err := strconv.ParseInt(field(name), 10, 64)
		if err == nil && n < 0 {
			err = errors.New("it is negative")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", name, field(name), err))
		}
		return n
	}
	p := traced{
		name: field("name"),
		requests: corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(number("cpu_milli"), resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(number("memory_mib")<<20, resource.BinarySI),
		},
		created: number("creation_time"), scheduled: number("scheduled_time"), deleted: number("deletion_time"),
	}
	// A share of a GPU (gpu_milli below 1000, only together with a num_gpu of 1)
	// is one GPU here: extended resources know no shares.
	if n := number("num_gpu"); n > 0 {
		p.requests[gpu] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	return p, errors.Join(errs...)
}

// arrival is a pod of the replay.
type arrival struct {
	name     string
	after    time.Duration // since the replay's start
	run      time.Duration
	requests corev1.ResourceList
}

// squeeze lets the pods arrive within the duration, at the rhythm of the trace,
// and shortens what they run by the same factor.
func squeeze(pods []traced, duration time.Duration) []arrival {
	if len(pods) == 0 {
		return nil
	}
	first := pods[0].created
	span := max(1, pods[len(pods)-1].created-first)
	scale := func(seconds int64) time.Duration {
		return time.Duration(float64(seconds) / float64(span) * float64(duration))
	}
	arrivals := make([]arrival, len(pods))
	for i, p := range pods {
		run := min(max(scale(p.deleted-p.scheduled), shortestRun), longestRun)
		arrivals[i] = arrival{name: p.name, after: scale(p.created - first), run: run.Round(time.Second), requests: p.requests}
	}
	return arrivals
}

// clamp lowers the pod's requests to what the largest machine offers, and says
// what it lowered, in words.
func (a *arrival) clamp(offered corev1.ResourceList) []string {
	var lowered []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, gpu} {
		asked, ok := a.requests[name]
		most := offered[name]
		if !ok || asked.Cmp(most) <= 0 {
			continue
		}
		a.requests[name] = most
		lowered = append(lowered, fmt.Sprintf("%s %s to %s", name, asked.String(), most.String()))
	}
	return lowered
}
