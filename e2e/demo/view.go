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

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/observer"
)

// refresh is how often the table is drawn, and the story looked for news.
const refresh = 500 * time.Millisecond

// linesKept is how much of the story stays below the table.
const linesKept = 8

// view tells the story: a line for each event, or, on a terminal, a table that
// updates in place with the last lines below it.
type view struct {
	mu      sync.Mutex
	out     io.Writer
	table   bool
	started time.Time
	lines   []string
	drawn   int // lines of the table on the screen
}

func newView(out io.Writer, table bool) *view {
	return &view{out: out, table: table, started: time.Now()}
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
	if v.table && v.drawn > 0 {
		v.lines = append(v.lines, line)
		v.lines = v.lines[max(0, len(v.lines)-linesKept):]
		return
	}
	fmt.Fprintln(v.out, line)
}

// draw replaces the table on the screen.
func (v *view) draw(rows []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.table {
		return
	}
	rows = append(slices.Clone(rows), "")
	rows = append(rows, v.lines...)
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", v.drawn) // up to the first row, and clear from there
	}
	for _, row := range rows {
		if runes := []rune(row); len(runes) > 100 {
			row = string(runes[:99]) + "…"
		}
		b.WriteString(row + "\n")
	}
	fmt.Fprint(v.out, b.String())
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
				d.view.line(fmt.Sprintf("waiting %s: %s", count(now[reason], "pod"), reason))
			}
		}
		reasons = now
		d.view.draw(d.rows(ctx, now))
		select {
		case <-ctx.Done():
			return
		case <-time.After(refresh):
		}
	}
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// tellOf tells of what a scale set did, in a line; "" for what is not told.
func tellOf(e emulator.Event) string {
	switch {
	case e.Kind == emulator.CapacityChanged && e.New > e.Old:
		return fmt.Sprintf("bought %s in %s (%d to %d)", count(e.New-e.Old, "machine"), e.Set, e.Old, e.New)
	case e.Kind == emulator.InstanceDeleting:
		return "deleting " + strings.ToLower(e.ComputerName)
	}
	return ""
}

// rows is the table.
func (d *demo) rows(ctx context.Context, reasons map[string]int) []string {
	unfinished, running := d.observer.Unfinished()
	s := d.observer.Summary()
	rows := []string{fmt.Sprintf("pods      %d waiting, %d running, %d done", unfinished-running, running, s.PodsCompleted)}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		rows = append(rows, fmt.Sprintf("          %d: %s", reasons[reason], reason))
	}
	rows = append(rows, fmt.Sprintf("machines  %d bought, %d deleted, %d marks taken back", s.MachinesBought, s.MachinesRetired, s.Rescues))
	nodes, err := d.rig.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: api.PoolLabel})
	if err != nil {
		return rows
	}
	for i := range nodes.Items {
		rows = append(rows, fmt.Sprintf("          %-16s %s", nodes.Items[i].Name, stateOf(&nodes.Items[i])))
	}
	return rows
}

// stateOf says how far a node's retirement has come.
func stateOf(n *corev1.Node) string {
	retirement := api.RetirementOf(n)
	switch {
	case n.Annotations[api.DeletingAnnotation] != "":
		return "deleting"
	case api.FenceToken(n) != "":
		return "fenced"
	case retirement != nil && retirement.EmptySince != nil:
		return "marked, empty"
	case retirement != nil:
		return "marked: " + retirement.Reason
	}
	return "in use"
}

// printSummary tells what it all came to.
func printSummary(out io.Writer, s observer.Summary) {
	fmt.Fprintf(out, `
%d pods waited at the gate, %d were released, %d finished; %d were killed.
%d machines were bought and %d deleted, %d marks were taken back, %d pods were bound too late.
From a pod at the gate to the request for its machine: %d ms. From a ready node to the first pod released: %d ms (medians).
Machines existed for %.0f s in all, and had work for %.0f s of that.
`, s.PodsGated, s.PodsReleased, s.PodsCompleted, s.PodsKilled,
		s.MachinesBought, s.MachinesRetired, s.Rescues, s.LateBinds,
		s.GateToRequestMS, s.ReadyToReleaseMS, s.MachineSeconds, s.BusyMachineSeconds)
}
