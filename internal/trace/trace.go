// Package trace reads the pod lists of the Alibaba cluster trace gpu-v2023
// ("Beware of Fragmentation", USENIX ATC 2023).
package trace

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// GPU is the extended resource that the trace's GPUs become.
const GPU corev1.ResourceName = "nvidia.com/gpu"

// Pod is a batch pod of a trace.
type Pod struct {
	Name     string
	Requests corev1.ResourceList
	// Created, Scheduled and Deleted are seconds since the trace's start.
	Created, Scheduled, Deleted int64
}

// Read returns the batch pods of a trace, oldest first: those with QoS class BE or
// Burstable of which both start and end are known. Its errors name line and pod.
func Read(r io.Reader) ([]Pod, error) {
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
	var pods []Pod
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
		pod, err := parse(field)
		if err != nil {
			line, _ := rows.FieldPos(0)
			return nil, fmt.Errorf("line %d of the trace, pod %s: %w", line, field("name"), err)
		}
		pods = append(pods, pod)
	}
	slices.SortStableFunc(pods, func(a, b Pod) int { return cmp.Compare(a.Created, b.Created) })
	return pods, nil
}

func parse(field func(string) string) (Pod, error) {
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
	p := Pod{
		Name: field("name"),
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(number("cpu_milli"), resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(number("memory_mib")<<20, resource.BinarySI),
		},
		Created: number("creation_time"), Scheduled: number("scheduled_time"), Deleted: number("deletion_time"),
	}
	// A share of a GPU (gpu_milli below 1000, only together with a num_gpu of 1)
	// is one GPU here: extended resources know no shares.
	if n := number("num_gpu"); n > 0 {
		p.Requests[GPU] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	return p, errors.Join(errs...)
}
