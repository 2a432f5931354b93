// Command growth measures how the time of a plan grows with the pods and with
// the nodes, and draws it on logarithmic axes.
package main

import (
	"encoding/csv"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/tidegate-k3s/tidegate/bench/mix"
	"github.com/tidegate-k3s/tidegate/bench/scenario"
	"github.com/tidegate-k3s/tidegate/bench/tidegate"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// series is the time of a plan against the size of one thing.
type series struct {
	title, unit string
	sizes       []int
	// setUp makes the plan of that size; each call of what it returns is one.
	setUp func(size int) func(run int) capacity.Decision

	seconds []float64
}

// waiting is how many pods wait where the number of nodes varies.
const waiting = 10_000

func all() []*series {
	return []*series{
		{
			title: "pods of the mix, nothing runs yet", unit: "waiting pods",
			sizes: []int{100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000},
			setUp: func(size int) func(int) capacity.Decision {
				s := tidegate.Snapshot(mix.Pods(size), tidegate.Pools(scenario.Market(), size))
				return func(int) capacity.Decision { return capacity.Plan(s) }
			},
		},
		{
			title: "pods of fifty sizes, nothing runs yet", unit: "waiting pods",
			sizes: []int{100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000},
			setUp: func(size int) func(int) capacity.Decision {
				s := tidegate.Snapshot(scenario.Sized(size), tidegate.Pools(scenario.Market(), size))
				return func(int) capacity.Decision { return capacity.Plan(s) }
			},
		},
		{
			title: "10,000 pods wait, a running pod has finished", unit: "nodes with ten pods each",
			sizes: []int{100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000},
			setUp: func(size int) func(int) capacity.Decision {
				s := scenario.NewCluster(size, scenario.Sized(waiting), waiting/10, true).Snapshot()
				var memory capacity.Memory
				return func(run int) capacity.Decision { return memory.Plan(scenario.Finish(s, run*997%size)) }
			},
		},
	}
}

func main() {
	dir := flag.String("dir", ".", "folder for growth.csv and growth.svg")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	measured := all()
	for _, s := range measured {
		for _, size := range s.sizes {
			seconds := median(s.setUp(size))
			s.seconds = append(s.seconds, seconds)
			fmt.Printf("%8d %s: %s\n", size, s.unit, time.Duration(seconds*float64(time.Second)).Round(time.Microsecond))
		}
		fmt.Printf("%s: time grows with the power %.2f\n", s.title, s.exponent())
	}
	if err := write(filepath.Join(dir, "growth.csv"), measured); err != nil {
		return err
	}
	return drawAll(filepath.Join(dir, "growth.svg"), measured)
}

// median runs the plan for half a second and at least five times, after once to
// warm up.
func median(plan func(run int) capacity.Decision) float64 {
	const enough, least = 500 * time.Millisecond, 5
	plan(0)
	runtime.GC()
	var runs []float64
	for began := time.Now(); len(runs) < least || time.Since(began) < enough; {
		start := time.Now()
		plan(len(runs))
		runs = append(runs, time.Since(start).Seconds())
	}
	slices.Sort(runs)
	return runs[len(runs)/2]
}

// settled is the size from which on growth is fitted: below it, what a plan
// costs whatever its size hides it.
const settled = 1_000

// exponent is the slope of the least-squares line through the logarithms.
func (s *series) exponent() float64 {
	var n, sx, sy, sxx, sxy float64
	for i, size := range s.sizes {
		if size < settled {
			continue
		}
		x, y := math.Log(float64(size)), math.Log(s.seconds[i])
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

func write(path string, measured []*series) error {
	rows := [][]string{{"plan", "size of", "size", "seconds"}}
	for _, s := range measured {
		for i, size := range s.sizes {
			rows = append(rows, []string{s.title, s.unit, strconv.Itoa(size), strconv.FormatFloat(s.seconds[i], 'g', 4, 64)})
		}
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the measurements: %w", err)
	}
	if err := csv.NewWriter(file).WriteAll(rows); err != nil {
		return fmt.Errorf("write the measurements to %s: %w", path, err)
	}
	return file.Close()
}
