package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/tidegate-k3s/tidegate/api"
)

// shownPods is how many waiting pods are listed unless all are asked for.
const shownPods = 20

// Write shows the report for people. Wide shows every waiting pod and further
// columns.
func (r Report) Write(w io.Writer, now time.Time, wide bool, style Style) {
	r.writeLeader(w, now, style)
	r.writePools(w, wide, style)
	r.writeMachines(w, now, wide, style)
	r.writeWaiting(w, now, wide, style)
}

func (r Report) writeLeader(w io.Writer, now time.Time, style Style) {
	say := func(t tone, format string, args ...any) {
		for _, line := range wrap(fmt.Sprintf(format, args...), style.Width) {
			fmt.Fprintln(w, paint(line, t, style))
		}
	}
	switch l := r.Leader; {
	case l.Identity == "":
		say(bad, "No Tidegate leads: is it running? See kubectl -n %s get pods", api.ServerNamespace)
	case !l.Alive:
		say(bad, "No Tidegate leads: %s last reported %s; see kubectl -n %s get pods", l.Identity, ago(now, l.Renewed), api.ServerNamespace)
	default:
		say(plain, "Leader: %s, reported %s", l.Identity, ago(now, l.Renewed))
	}
	switch {
	case r.Paused:
		say(warn, "Paused: Tidegate says what it would do and does nothing; tidegate resume ends that")
	case r.ObserveOnly:
		say(warn, "Observing only: Tidegate says what it would do and does nothing; it runs with --observe-only")
	}
	if r.Problem != "" {
		say(bad, "Azure: %s", r.Problem)
	}
}

func (r Report) writePools(w io.Writer, wide bool, style Style) {
	t := table{header: []string{"POOL", "MACHINES", "READY", "MIN", "MAX", "BOOT", "OFFERS", "STATE"}}
	for _, p := range r.Pools {
		state := cell{text: "can grow", tone: good}
		switch {
		case p.State != "":
			state = cell{text: p.State, tone: warn}
		case p.Machines >= p.Max:
			state = cell{text: "at its maximum"}
		}
		boot := "?"
		if p.BootSeconds > 0 {
			boot = api.ShortDuration(time.Duration(p.BootSeconds * float64(time.Second)))
		}
		offers := "?"
		if len(p.Offers) > 0 {
			offers = amounts(p.Offers, wide)
		}
		row := cells(p.Name, strconv.Itoa(p.Machines), strconv.Itoa(p.Ready), strconv.Itoa(p.Min), strconv.Itoa(p.Max), boot, offers)
		t.add(append(row, state)...)
	}
	section(w, &t, style)
}

func (r Report) writeMachines(w io.Writer, now time.Time, wide bool, style Style) {
	t := table{header: []string{"MACHINE", "POOL", "STATE", "PODS", "FOR", "REASON"}}
	if wide {
		t.header = slices.Insert(t.header, 5, "VMID")
	}
	tones := map[MachineState]tone{Busy: good, Idle: good, NotReady: bad, Retiring: warn, Empty: warn, Fenced: warn, Deleting: warn}
	for _, m := range r.Machines {
		row := []cell{{text: m.Name}, {text: orDash(m.Pool)}, {string(m.State), tones[m.State]}, {text: strconv.Itoa(m.Pods)}, {text: age(now, m.Since)}}
		if wide {
			row = append(row, cell{text: orDash(m.VMID)})
		}
		t.add(append(row, cell{text: m.Reason})...)
	}
	section(w, &t, style)
}

func (r Report) writeWaiting(w io.Writer, now time.Time, wide bool, style Style) {
	shown := r.Waiting
	if !wide {
		shown = shown[:min(shownPods, len(shown))]
	}
	t := table{header: []string{"WAITING POD", "FOR", "STARTS IN", "REASON"}}
	for _, p := range shown {
		starts := "?"
		if p.Expected != nil {
			starts = "about " + api.ShortDuration(p.Expected.Sub(now))
		}
		t.add(cells(p.Namespace+"/"+p.Name, age(now, p.Since), starts, p.Message)...)
	}
	section(w, &t, style)
	if more := len(r.Waiting) - len(shown); more > 0 {
		fmt.Fprintf(w, "and %d more; -o wide lists all\n", more)
	}
	if len(r.Waiting) == 0 {
		fmt.Fprintln(w, "\nNo pod waits.")
	}
}

// section writes the table after an empty line, or nothing if it has no rows.
func section(w io.Writer, t *table, style Style) {
	if len(t.rows) > 0 {
		fmt.Fprintln(w)
		t.write(w, style)
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func age(now, since time.Time) string { return duration.HumanDuration(max(0, now.Sub(since))) }

func ago(now, then time.Time) string { return age(now, then) + " ago" }
