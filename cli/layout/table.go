// Package layout fits texts for people to a width: tables, wrapped sentences,
// colours.
package layout

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

// Tone is how much attention a text deserves; its value is the ANSI colour.
type Tone string

// The tones.
const (
	Plain Tone = ""
	Good  Tone = "\x1b[32m"
	Warn  Tone = "\x1b[33m"
	Bad   Tone = "\x1b[31m"
)

const reset = "\x1b[0m"

// Cell is one text of a table.
type Cell struct {
	Text string
	Tone Tone
}

// Cells returns plain cells.
func Cells(texts ...string) []Cell {
	row := make([]Cell, len(texts))
	for i, text := range texts {
		row[i].Text = text
	}
	return row
}

const (
	columnGap = 2
	// leastLast is how wide the last column, which holds sentences, is at least
	// if it needs to.
	leastLast = 30
	// leastCut is how short a cell is cut at most.
	leastCut = 8
)

// Table is rows under a header, which may be nil. The last column holds sentences and is wrapped;
// the others are cut in the middle where the width does not suffice, because
// generated names differ at their end.
type Table struct {
	Header []string
	Rows   [][]Cell
}

// Add adds a row, which has as many cells as every other one.
func (t *Table) Add(row ...Cell) { t.Rows = append(t.Rows, row) }

// Write shows the table, or nothing if it has no rows.
func (t *Table) Write(w io.Writer, style Style) {
	if len(t.Rows) == 0 {
		return
	}
	widths := t.widths(style.Width)
	if t.Header != nil {
		writeRow(w, Cells(t.Header...), widths, style)
	}
	for _, row := range t.Rows {
		writeRow(w, row, widths, style)
	}
}

// widths returns the width of each column; that of the last is 0 for no limit.
func (t *Table) widths(limit int) []int {
	widths := make([]int, len(t.Rows[0]))
	last := len(widths) - 1
	used := 0
	for i := range last {
		if t.Header != nil {
			widths[i] = utf8.RuneCountInString(t.Header[i])
		}
		for _, row := range t.Rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].Text))
		}
		used += widths[i] + columnGap
	}
	if limit == 0 {
		return widths
	}
	need := leastCut
	for _, row := range t.Rows {
		need = max(need, utf8.RuneCountInString(row[last].Text))
	}
	for used > limit-min(need, leastLast) {
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

func writeRow(w io.Writer, row []Cell, widths []int, style Style) {
	last := len(row) - 1
	var line strings.Builder
	for i, c := range row[:last] {
		text := cut(c.Text, widths[i])
		line.WriteString(Paint(text, c.Tone, style))
		line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+columnGap))
	}
	indent := strings.Repeat(" ", sum(widths[:last])+columnGap*last)
	for i, part := range Wrap(row[last].Text, widths[last]) {
		if i > 0 {
			line.WriteString("\n" + indent)
		}
		line.WriteString(Paint(part, row[last].Tone, style))
	}
	for text := range strings.SplitSeq(line.String(), "\n") {
		fmt.Fprintln(w, strings.TrimRight(text, " "))
	}
}

// Paint colours the text, if the style has colours.
func Paint(text string, t Tone, style Style) string {
	if !style.Colour || t == Plain || text == "" {
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

// Wrap breaks the text at spaces into parts of at most that width, 0 for no
// limit; a longer word is broken too.
func Wrap(text string, width int) []string {
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
