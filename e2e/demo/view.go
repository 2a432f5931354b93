package demo

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/observer"
)

const (
	// refresh is how often the table is drawn and news are looked for.
	refresh = 250 * time.Millisecond
	// linesKept is how much of the story stays below the table.
	linesKept = 8
)

// view tells the story: a line for each event, or, on a terminal, a table that
// updates in place with the last lines below it.
type view struct {
	out     io.Writer
	size    func() (width, height int, err error) // nil unless out is a terminal
	started time.Time

	mu    sync.Mutex
	lines []string // the last ones, below the table
	drawn int      // rows of the table on the screen
}

func newView(out io.Writer, size func() (int, int, error)) *view {
	return &view{out: out, size: size, started: time.Now()}
}

// Write tells what others write, such as the announcement of a build.
func (v *view) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		v.line(strings.TrimSpace(line))
	}
	return len(text), nil
}

// line tells one thing that has happened.
func (v *view) line(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	line := fmt.Sprintf("%6.1fs  %s", time.Since(v.started).Seconds(), text)
	if v.drawn == 0 {
		fmt.Fprintln(v.out, line)
		return
	}
	v.lines = append(v.lines, line)
	v.lines = v.lines[max(0, len(v.lines)-linesKept):]
}

// draw replaces the table on the screen; elsewhere it does nothing.
func (v *view) draw(rows []string) {
	if v.size == nil {
		return
	}
	width, height, err := v.size()
	if err != nil || width < 20 || height < 5 {
		width, height = 80, 24
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	rows = slices.Concat(rows, []string{""}, v.lines)
	rows = rows[:min(len(rows), height-1)]
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", v.drawn) // up to the first row, and clear from there
	}
	for _, row := range rows {
		if runes := []rune(row); len(runes) >= width {
			row = string(runes[:width-2]) + "…"
		}
		b.WriteString(row + "\n")
	}
	io.WriteString(v.out, b.String())
	v.drawn = len(rows)
}

// end leaves the last table on the screen.
func (v *view) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drawn = 0
}

// show follows what the observer does not tell, until ctx ends: why pods wait,
// and what the scale sets do.
func (d *demo) show(ctx context.Context) {
	defer d.view.end()
	told, reasons := 0, map[string]int{}
	for {
		history := d.rig.Azure.Cloud().History()
		for _, e := range history[told:] {
			if text := tellOf(e); text != "" {
				d.view.line(text)
			}
		}
		told = len(history)
		now := d.observer.Reasons()
		for _, reason := range slices.Sorted(maps.Keys(now)) {
			if reasons[reason] == 0 {
				d.view.line(fmt.Sprintf("pods that wait: %d: %s", now[reason], reason))
			}
		}
		reasons = now
		d.view.draw(table(d.observer.Summary(), d.observer.Machines(), reasons, time.Since(d.view.started)))
		select {
		case <-ctx.Done():
			return
		case <-time.After(refresh):
		}
	}
}

// tellOf tells of what a scale set did; "" for what is not told.
func tellOf(e emulator.Event) string {
	machine := strings.ToLower(e.ComputerName)
	switch e.Kind {
	case emulator.CapacityChanged:
		return fmt.Sprintf("capacity of %s: %d to %d (%s)", e.Set, e.Old, e.New, e.How)
	case emulator.InstanceBooted:
		return "machine " + machine + " has booted"
	case emulator.InstanceFailed:
		return "machine " + machine + " could not be provisioned"
	case emulator.InstanceDeleting:
		return "deletion of machine " + machine + " accepted"
	case emulator.InstanceDeleted:
		return "machine " + machine + " is deleted"
	}
	return ""
}

// table is the state of everything, in rows.
func table(f observer.Summary, machines []observer.Machine, reasons map[string]int, elapsed time.Duration) []string {
	running := 0
	for _, m := range machines {
		running += m.Pods
	}
	rows := []string{
		fmt.Sprintf("Tidegate demo, %d s", int(elapsed.Seconds())),
		fmt.Sprintf("PODS      %d at the gate, %d on machines, %d finished of %d, %d killed", f.PodsGated-f.PodsReleased, running, f.PodsCompleted, f.PodsGated, f.PodsKilled),
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		rows = append(rows, fmt.Sprintf("  %4d  %s", reasons[reason], reason))
	}
	rows = append(rows, fmt.Sprintf("MACHINES  %d bought, %d deleted, %d marks taken back", f.MachinesBought, f.MachinesRetired, f.Rescues))
	for _, m := range machines {
		row := fmt.Sprintf("  %-14s %-8s %-10s %2d pods %s", m.Name, m.Pool, m.State, m.Pods, strings.Repeat("#", m.Pods))
		rows = append(rows, strings.TrimRight(row, " "))
	}
	return rows
}
