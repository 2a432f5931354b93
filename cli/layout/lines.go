package layout

import (
	"io"
	"strings"
)

// Lines writes to W, with lines that are longer than Width broken at spaces.
// What a line is indented by its parts are too. Each write has whole lines.
type Lines struct {
	W     io.Writer
	Width int
}

// Write implements io.Writer.
func (l Lines) Write(p []byte) (int, error) {
	var out strings.Builder
	for line := range strings.Lines(string(p)) {
		text := strings.TrimSuffix(line, "\n")
		indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
		for _, part := range Wrap(text, l.Width-len(indent)) {
			out.WriteString(indent + part + "\n")
		}
	}
	if _, err := io.WriteString(l.W, out.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}
