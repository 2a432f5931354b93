package doctor

import (
	"fmt"
	"io"

	"github.com/tidegate-k3s/tidegate/cli/layout"
)

// Write shows the findings for people.
func Write(w io.Writer, findings []Finding, style layout.Style) {
	tones := map[Verdict]layout.Tone{OK: layout.Good, Warning: layout.Warn, Failed: layout.Bad, Unknown: layout.Warn}
	t := layout.Table{Header: []string{"CHECK", "VERDICT", "FINDING"}}
	for _, f := range findings {
		t.Add(layout.Cell{Text: f.Check}, layout.Cell{Text: string(f.Verdict), Tone: tones[f.Verdict]}, layout.Cell{Text: f.Detail})
		if f.Fix != "" {
			t.Add(layout.Cells("", "", "Fix: "+f.Fix)...)
		}
	}
	t.Write(w, style)
}

// Outcome is an error if a check failed, nil otherwise.
func Outcome(findings []Finding) error {
	failures := 0
	for _, f := range findings {
		if f.Verdict == Failed {
			failures++
		}
	}
	if failures > 0 {
		return fmt.Errorf("%d of %d checks failed: see the fixes above", failures, len(findings))
	}
	return nil
}
