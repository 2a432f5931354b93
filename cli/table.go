package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Style says how a text is shown.
type Style struct {
	// Width is how many columns a line may have; 0 means no limit.
	Width int
	// Colour marks with ANSI colours what needs attention.
	Colour bool
}

// tone is how much attention a cell deserves.
type tone string

const (
	plain tone = ""
	good  tone = "\x1b[32m"
	warn  tone = "\x1b[33m"
	bad   tone = "\x1b[31m"
	reset      = "\x1b[0m"
)

type cell struct {
	text string
	tone tone
}

func cells(texts ...string) []cell {
	row := make([]cell, len(texts))
	for i, text := range texts {
		row[i].text = text
	}
	return row
}

const (
	columnGap = 2
	// leastLast is how wide the last column, which holds sentences, is at least.
	leastLast = 30
	// leastCut is how short a cell is cut at most.
	leastCut = 8
)

// table is rows under a header, which may be nil. The last column holds sentences and is wrapped;
// the others are cut in the middle where the width does not suffice, because
// generated names differ at their end.
type table struct {
	header []string
	rows   [][]cell
}

func (t *table) add(row ...cell) { t.rows = append(t.rows, row) }

// write shows the table, or nothing if it has no rows.
func (t *table) write(w io.Writer, style Style) {
	if len(t.rows) == 0 {
		return
	}
	widths := t.widths(style.Width)
	if t.header != nil {
		writeRow(w, cells(t.header...), widths, style)
	}
	for _, row := range t.rows {
		writeRow(w, row, widths, style)
	}
}

// widths returns the width of each column; that of the last is 0 for no limit.
func (t *table) widths(limit int) []int {
	widths := make([]int, len(t.rows[0]))
	last := len(widths) - 1
	used := 0
	for i := range last {
		if t.header != nil {
			widths[i] = utf8.RuneCountInString(t.header[i])
		}
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
		used += widths[i] + columnGap
	}
	if limit == 0 {
		return widths
	}
	for used > limit-leastLast {
		widest := 0
		for i := range last {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= leastCut {
			break
		}
		widths[widest]--
		used--
	}
	widths[last] = max(leastCut, limit-used)
	return widths
}

func writeRow(w io.Writer, row []cell, widths []int, style Style) {
	last := len(row) - 1
	var line strings.Builder
	for i, c := range row[:last] {
		text := cut(c.text, widths[i])
		line.WriteString(paint(text, c.tone, style))
		line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+columnGap))
	}
	indent := strings.Repeat(" ", sum(widths[:last])+columnGap*last)
	for i, part := range wrap(row[last].text, widths[last]) {
		if i > 0 {
			line.WriteString("\n" + indent)
		}
		line.WriteString(paint(part, row[last].tone, style))
	}
	for text := range strings.SplitSeq(line.String(), "\n") {
		fmt.Fprintln(w, strings.TrimRight(text, " "))
	}
}

func paint(text string, t tone, style Style) string {
	if !style.Colour || t == plain || text == "" {
		return text
	}
	return string(t) + text + reset
}

// cut shortens the text in its middle.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	tail := (width - 1) / 2
	return string(runes[:width-1-tail]) + "…" + string(runes[len(runes)-tail:])
}

// wrap breaks the text at spaces into parts of at most that width, 0 for no
// limit; a longer word is broken too.
func wrap(text string, width int) []string {
	if width == 0 {
		return []string{text}
	}
	var parts []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			parts = append(parts, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		for rest := []rune(line + word); ; rest = rest[width:] {
			if len(rest) <= width {
				line = string(rest)
				break
			}
			parts = append(parts, string(rest[:width]))
		}
	}
	return append(parts, line)
}

func sum(numbers []int) int {
	total := 0
	for _, n := range numbers {
		total += n
	}
	return total
}
