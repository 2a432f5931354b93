// Command replay runs the batch pods of a trace through the planner and prints, for
// each pool, the machine-hours that it pays for and the least that anybody could.
package main

import (
	"flag"
	"fmt"
	"os"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/bench/replay"
	"github.com/tidegate-k3s/tidegate/internal/trace"
)

// pools are machines of about the sizes in the trace's cluster.
func pools() []replay.Pool {
	offers := func(cpus, memory, gpus string) corev1.ResourceList {
		list := corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpus), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse("110"),
		}
		if gpus != "" {
			list[trace.GPU] = resource.MustParse(gpus)
		}
		return list
	}
	return []replay.Pool{
		{Name: "cpu", Offers: offers("64", "256Gi", "")},
		{Name: "gpu", Offers: offers("128", "1Ti", "8")},
	}
}

func main() {
	file := flag.String("trace", "", "pod list in the format of the Alibaba cluster trace gpu-v2023")
	flag.Parse()
	if err := run(*file); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("%w: name a pod list with -trace", err)
	}
	defer f.Close()
	pods, err := trace.Read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "run times\tpool\tpods\tmachines\tmachine-hours\tleast\tratio\twait p50\tp90\t")
	for _, hints := range []bool{false, true} {
		bills, left, err := replay.Run(pods, pools(), hints)
		if err != nil {
			return err
		}
		if left > 0 {
			return fmt.Errorf("%s: %d pods are larger than any machine", file, left)
		}
		known := map[bool]string{false: "unknown", true: "known"}[hints]
		var all replay.Bill
		for _, b := range bills {
			n := len(b.Waits)
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%.0f\t%.0f\t%.3f\t%s\t%s\t\n", known, b.Pool, n, b.Machines,
				b.Paid.Hours(), b.Least.Hours(), float64(b.Paid)/float64(b.Least), b.Waits[n/2], b.Waits[n*9/10])
			all.Paid, all.Least = all.Paid+b.Paid, all.Least+b.Least
		}
		fmt.Fprintf(table, "%s\tall\t\t\t%.0f\t%.0f\t%.3f\t\t\t\n", known, all.Paid.Hours(), all.Least.Hours(), float64(all.Paid)/float64(all.Least))
	}
	return table.Flush()
}
