package layout

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	long := "waiting for 3 machines in agents, about 80 s from purchase to ready"
	for name, tc := range map[string]struct {
		style Style
		rows  [][]Cell
		want  []string
	}{
		"no rows, no header": {},
		"columns line up": {
			rows: [][]Cell{Cells("a", "ready", ""), Cells("agents000001", "x", "why not")},
			want: []string{
				"NAME          STATE  REASON",
				"a             ready",
				"agents000001  x      why not",
			},
		},
		"sentences wrap under their column": {
			style: Style{Width: 50},
			rows:  [][]Cell{Cells("frames", "waits", long)},
			want: []string{
				"NAME    STATE  REASON",
				"frames  waits  waiting for 3 machines in agents,",
				"               about 80 s from purchase to ready",
			},
		},
		"names are cut in the middle, for a sentence": {
			style: Style{Width: 60},
			rows:  [][]Cell{Cells("namespace/a-job-of-a-long-name-x7k2p", "waits", "waiting for 3 machines, which boot")},
			want: []string{
				"NAME                   STATE  REASON",
				"namespace/…name-x7k2p  waits  waiting for 3 machines, which",
				"                              boot",
			},
		},
		"and not for a word": {
			style: Style{Width: 60},
			rows:  [][]Cell{Cells("namespace/a-job-of-a-long-name-x7k2p", "waits", "soon")},
			want: []string{
				"NAME                                  STATE  REASON",
				"namespace/a-job-of-a-long-name-x7k2p  waits  soon",
			},
		},
		"without a limit nothing is cut": {
			rows: [][]Cell{Cells("namespace/a-job-of-a-long-name-x7k2p", "waits", long+" "+long)},
			want: []string{
				"NAME                                  STATE  REASON",
				"namespace/a-job-of-a-long-name-x7k2p  waits  " + long + " " + long,
			},
		},
		"colour takes no room": {
			style: Style{Colour: true, Width: 100},
			rows:  [][]Cell{{{Text: "a"}, {"lost", Bad}, {Text: "gone"}}, Cells("b", "ready", "fine")},
			want: []string{
				"NAME  STATE  REASON",
				"a     \x1b[31mlost\x1b[0m   gone",
				"b     ready  fine",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			(&Table{Header: []string{"NAME", "STATE", "REASON"}, Rows: tc.rows}).Write(&out, tc.style)
			got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if out.Len() == 0 {
				got = nil
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrapBreaksWordsLongerThanTheLine(t *testing.T) {
	got := Wrap("see subscriptions/0000/resourceGroups/group now", 12)
	want := []string{"see", "subscription", "s/0000/resou", "rceGroups/gr", "oup now"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

func FuzzTableFits(f *testing.F) {
	f.Add("namespace/pod", "state", "a sentence that says why")
	f.Add(strings.Repeat("n", 300), strings.Repeat("s", 90), strings.Repeat("w", 400))
	f.Add("ünï/cödé", "…", "“quoted” – text")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for _, text := range []*string{&a, &b, &c} {
			*text = strings.NewReplacer("\n", "", "\r", "").Replace(strings.ToValidUTF8(*text, ""))
		}
		var out strings.Builder
		(&Table{Header: []string{"A", "B", "C"}, Rows: [][]Cell{Cells(a, b, c)}}).Write(&out, Style{Width: 100})
		for line := range strings.SplitSeq(out.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > 100 {
				t.Errorf("a line has %d columns: %q", n, line)
			}
		}
	})
}
