package demo

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/observer"
)

func TestFailedActions(t *testing.T) {
	const help = "# TYPE tidegate_writes_total counter\n"
	for name, tc := range map[string]struct {
		status     int
		text, want string
	}{
		"all went well":       {200, help + "tidegate_writes_total{kind=\"grow\",result=\"ok\"} 3\n", ""},
		"conflicts are usual": {200, help + "tidegate_writes_total{kind=\"mark\",result=\"conflict\"} 2\n", ""},
		"none has failed":     {200, help + "tidegate_writes_total{kind=\"grow\",result=\"error\"} 0\n", ""},
		"one has failed":      {200, help + "tidegate_writes_total{kind=\"grow\",result=\"error\"} 1\n", `1 actions of kind "grow" failed`},
		"no answer":           {0, "connection refused", "connection refused"},
		"not metrics":         {200, "{}", "read Tidegate's metrics"},
	} {
		t.Run(name, func(t *testing.T) {
			err := failedActions(tc.status, tc.text)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestFateOfTheLongPodsMachine(t *testing.T) {
	event := func(kind emulator.EventKind, name string) emulator.Event {
		return emulator.Event{Kind: kind, Set: "agents", ComputerName: name}
	}
	const first, second = "agents00000A", "agents00000B"
	bought := []emulator.Event{event(emulator.InstanceCreated, first), event(emulator.InstanceCreated, second)}
	for name, tc := range map[string]struct {
		node    string
		history []emulator.Event
		want    string
		newest  bool
	}{
		"the newest, deleted last": {
			node:    "agents00000b",
			history: append(bought[:2:2], event(emulator.InstanceDeleting, first), event(emulator.InstanceDeleting, second)),
			want:    "was machine 2 of 2 of agents", newest: true,
		},
		"the oldest, deleted first": {
			node:    "agents00000a",
			history: append(bought[:2:2], event(emulator.InstanceDeleting, first), event(emulator.InstanceDeleting, second)),
			want:    "was machine 1 of 2 of agents",
		},
		"bought after the first had gone": {
			node:    "agents00000b",
			history: []emulator.Event{bought[0], event(emulator.InstanceDeleting, first), bought[1], event(emulator.InstanceDeleting, second)},
			want:    "was machine 2 of 2 of agents",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := fate(tc.node, tc.history)
			if !strings.Contains(got, tc.want) || strings.Contains(got, "as the newest") != tc.newest {
				t.Errorf("got %q, want %q, newest %t", got, tc.want, tc.newest)
			}
		})
	}
}

func TestFramesRunFrom5To60Seconds(t *testing.T) {
	shortest, longest := time.Hour, time.Duration(0)
	for i := range frames {
		shortest, longest = min(shortest, frameTime(i)), max(longest, frameTime(i))
	}
	if shortest != 5*time.Second || longest != 60*time.Second {
		t.Errorf("frames run from %s to %s, want 5s to 1m0s", shortest, longest)
	}
}

func TestTable(t *testing.T) {
	got := table(
		observer.Summary{PodsGated: 10, PodsReleased: 7, PodsCompleted: 3, MachinesBought: 2, Rescues: 1},
		[]observer.Machine{{Name: "agents000000", Pool: "agents", State: observer.Marked, Pods: 4}, {Name: "big000000", Pool: "big", State: observer.Booting}},
		map[string]int{"waiting for 1 machine in big": 3}, 42*time.Second)
	want := []string{
		"Tidegate demo, 42 s",
		"PODS      3 at the gate, 4 on machines, 3 finished of 10, 0 killed",
		"     3  waiting for 1 machine in big",
		"MACHINES  2 bought, 0 deleted, 1 marks taken back",
		"  agents000000   agents   marked      4 pods ####",
		"  big000000      big      booting     0 pods",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestTheTableFitsTheTerminalAndReplacesItself(t *testing.T) {
	var out bytes.Buffer
	v := newView(&out, func() (int, int, error) { return 20, 5, nil })
	v.draw([]string{"a row that is too long for it", "2", "3", "4", "5", "6"})
	if got, want := out.String(), "a row that is too …\n2\n3\n4\n"; got != want {
		t.Errorf("first drawing %q, want %q", got, want)
	}
	out.Reset()
	v.line("kept for the table")
	v.draw([]string{"1"})
	if got := out.String(); !strings.HasPrefix(got, "\x1b[4A\x1b[J1\n\n") || !strings.Contains(got, "0.0s") {
		t.Errorf("second drawing %q, want it to start four rows higher and to end with the line", got)
	}
}

func TestAFileGetsALineForEachEvent(t *testing.T) {
	var out bytes.Buffer
	v := newView(&out, nil)
	v.draw([]string{"a table"})
	v.line("first")
	if _, err := v.Write([]byte("second\nthird\n")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.TrimSpace(line[strings.Index(line, "s  ")+3:]))
	}
	if diff := cmp.Diff([]string{"first", "second", "third"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestATerminalThatDoesNotTellItsSize(t *testing.T) {
	var out bytes.Buffer
	newView(&out, func() (int, int, error) { return 0, 0, errors.New("not a terminal") }).draw([]string{"row"})
	if got := out.String(); got != "row\n\n" {
		t.Errorf("drew %q, want the row", got)
	}
}
