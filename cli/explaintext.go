package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/tidegate-k3s/tidegate/cli/layout"
)

// Write tells the story for people.
func (e Explanation) Write(w io.Writer, now time.Time, style layout.Style) {
	for _, line := range layout.Wrap(fmt.Sprintf("Pod %s/%s %s.", e.Namespace, e.Name, e.Headline), style.Width) {
		fmt.Fprintln(w, line)
	}
	var t layout.Table
	say := func(label string, tone layout.Tone, texts ...string) {
		for _, text := range texts {
			if text != "" {
				t.Add(layout.Cell{Text: label}, layout.Cell{Text: text, Tone: tone})
				label = "" // stands for all its lines
			}
		}
	}
	say("Why", layout.Plain, e.Why)
	say("Next", layout.Plain, e.Next)
	say("Requests", layout.Plain, e.Asks)
	say("Pools", layout.Plain, e.Pools...)
	say("Wishes", layout.Plain, e.Wishes...)
	say("Not understood", layout.Warn, e.Mistakes...)
	section(w, &t, style)

	h := layout.Table{Header: []string{"WHEN", "WHAT HAPPENED"}}
	for _, m := range e.History {
		h.Add(layout.Cells(ago(now, m.Time), m.Text)...)
	}
	section(w, &h, style)
}
