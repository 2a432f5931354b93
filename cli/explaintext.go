package cli

import (
	"fmt"
	"io"
	"time"
)

// Write tells the story for people.
func (e Explanation) Write(w io.Writer, now time.Time, style Style) {
	for _, line := range wrap(fmt.Sprintf("Pod %s/%s %s.", e.Namespace, e.Name, e.Headline), style.Width) {
		fmt.Fprintln(w, line)
	}
	var t table
	say := func(label string, tone tone, texts ...string) {
		for _, text := range texts {
			if text != "" {
				t.add(cell{text: label}, cell{text, tone})
				label = "" // stands for all its lines
			}
		}
	}
	say("Why", plain, e.Why)
	say("Next", plain, e.Next)
	say("Requests", plain, e.Asks)
	say("Wishes", plain, e.Wishes...)
	say("Not understood", warn, e.Mistakes...)
	section(w, &t, style)

	h := table{header: []string{"WHEN", "WHAT HAPPENED"}}
	for _, m := range e.History {
		h.add(cells(ago(now, m.Time), m.Text)...)
	}
	section(w, &h, style)
}
