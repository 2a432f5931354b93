package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli/layout"
)

// shownPods is how many pods are listed unless all are asked for.
const shownPods = 20

// Write shows the report for people. Wide shows every waiting pod and further
// columns.
func (r Report) Write(w io.Writer, now time.Time, wide bool, style layout.Style) {
	r.writeLeader(w, now, style)
	r.writePools(w, wide, style)
	r.writeMachines(w, now, wide, style)
	r.writeWaiting(w, now, wide, style)
}

func (r Report) writeLeader(w io.Writer, now time.Time, style layout.Style) {
	say := func(t layout.Tone, format string, args ...any) {
		for _, line := range layout.Wrap(fmt.Sprintf(format, args...), style.Width) {
			fmt.Fprintln(w, layout.Paint(line, t, style))
		}
	}
	switch l := r.Leader; {
	case l.Identity == "":
		say(layout.Bad, "No Tidegate leads: is it running? See kubectl -n %s get pods", api.ServerNamespace)
	case !l.Alive:
		say(layout.Bad, "No Tidegate leads: %s last reported %s; see kubectl -n %s get pods", l.Identity, ago(now, l.Renewed), api.ServerNamespace)
	default:
		say(layout.Plain, "Leader: %s, reported %s", l.Identity, ago(now, l.Renewed))
	}
	switch {
	case r.Paused:
		say(layout.Warn, "Paused: Tidegate says what it would do and does nothing; tidegate resume ends that")
	case r.ObserveOnly:
		say(layout.Warn, "Observing only: Tidegate says what it would do and does nothing; it runs with --observe-only")
	}
	if r.Problem != "" {
		say(layout.Bad, "Azure: %s", r.Problem)
	}
	for _, p := range r.Pools {
		if p.Warning != "" {
			say(layout.Warn, "%s: %s", p.Name, p.Warning)
		}
	}
}

func (r Report) writePools(w io.Writer, wide bool, style layout.Style) {
	t := layout.Table{Header: []string{"POOL", "MACHINES", "READY", "MIN", "MAX", "BOOT", "OFFERS", "STATE"}}
	for _, p := range r.Pools {
		state := layout.Cell{Text: "can grow", Tone: layout.Good}
		switch {
		case p.State != "":
			state = layout.Cell{Text: p.State, Tone: layout.Warn}
		case p.Machines >= p.Max:
			state = layout.Cell{Text: "at its maximum"}
		}
		boot := "?"
		if p.BootSeconds > 0 {
			boot = api.ShortDuration(time.Duration(p.BootSeconds * float64(time.Second)))
		}
		offers := "?"
		if len(p.Offers) > 0 {
			offers = amounts(p.Offers, wide)
		}
		row := layout.Cells(p.Name, strconv.Itoa(p.Machines), strconv.Itoa(p.Ready), strconv.Itoa(p.Min), strconv.Itoa(p.Max), boot, offers)
		t.Add(append(row, state)...)
	}
	section(w, &t, style)
}

func (r Report) writeMachines(w io.Writer, now time.Time, wide bool, style layout.Style) {
	t := layout.Table{Header: []string{"MACHINE", "POOL", "STATE", "PODS", "FOR", "REASON"}}
	if wide {
		t.Header = slices.Insert(t.Header, 5, "VMID")
	}
	tones := map[MachineState]layout.Tone{Busy: layout.Good, Idle: layout.Good, NotReady: layout.Bad, Retiring: layout.Warn, Empty: layout.Warn, Fenced: layout.Warn, Deleting: layout.Warn, Restarting: layout.Warn}
	for _, m := range r.Machines {
		row := []layout.Cell{{Text: m.Name}, {Text: orDash(m.Pool)}, {Text: string(m.State), Tone: tones[m.State]}, {Text: strconv.Itoa(m.Pods)}, {Text: age(now, m.Since)}}
		if wide {
			row = append(row, layout.Cell{Text: orDash(m.VMID)})
		}
		t.Add(append(row, layout.Cell{Text: m.Reason})...)
	}
	section(w, &t, style)
}

func (r Report) writeWaiting(w io.Writer, now time.Time, wide bool, style layout.Style) {
	shown := r.Waiting
	if !wide {
		shown = shown[:min(shownPods, len(shown))]
	}
	t := layout.Table{Header: []string{"WAITING POD", "FOR", "STARTS IN", "REASON"}}
	for _, p := range shown {
		t.Add(layout.Cells(p.Namespace+"/"+p.Name, age(now, p.Since), startsIn(now, p.Expected), p.Message)...)
	}
	section(w, &t, style)
	more(w, len(r.Waiting)-len(shown), "wide")
	if len(r.Waiting) == 0 {
		fmt.Fprintln(w, "\nNo pod waits.")
	}
}

// section writes the table after an empty line, or nothing if it has no rows.
func section(w io.Writer, t *layout.Table, style layout.Style) {
	if len(t.Rows) > 0 {
		fmt.Fprintln(w)
		t.Write(w, style)
	}
}

// more says how many rows were left out, and which format has them all.
func more(w io.Writer, left int, format string) {
	if left > 0 {
		fmt.Fprintf(w, "and %d more; -o %s lists all\n", left, format)
	}
}

// startsIn says when a pod is expected to start, if anybody knows.
func startsIn(now time.Time, expected *time.Time) string {
	if expected == nil {
		return "?"
	}
	return api.ShortDuration(expected.Sub(now))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func age(now, since time.Time) string { return duration.HumanDuration(max(0, now.Sub(since))) }

func ago(now, then time.Time) string { return age(now, then) + " ago" }
