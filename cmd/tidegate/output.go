package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// output is the value of a flag -o: how a report is written. The zero value is
// text for people.
type output struct {
	format string
	known  []string
}

// bind adds the flag, which takes these formats.
func (o *output) bind(cmd *cobra.Command, formats ...string) {
	o.known = formats
	cmd.Flags().VarP(o, "output", "o", "another format: "+strings.Join(formats, ", "))
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

func (o *output) String() string { return o.format }

// Type names the value in the usage.
func (o *output) Type() string { return "format" }

// Set refuses a format that is not known.
func (o *output) Set(format string) error {
	if !slices.Contains(o.known, format) {
		return fmt.Errorf("want one of %s", strings.Join(o.known, ", "))
	}
	o.format = format
	return nil
}

// write writes the report as JSON or YAML, or else has text write it.
func (o *output) write(w io.Writer, report any, text func()) error {
	switch o.format {
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	case "yaml":
		document, err := yaml.Marshal(report)
		if err != nil {
			return fmt.Errorf("encode the report: %w", err)
		}
		_, err = w.Write(document)
		return err
	}
	text()
	return nil
}
