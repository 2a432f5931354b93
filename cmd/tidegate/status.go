package main

import (
	"bytes"
	"context"
	"io"
	"reflect"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/cli"
	"github.com/tidegate-k3s/tidegate/cli/layout"
)

// watchInterval is how often tidegate status --watch looks again.
const watchInterval = 2 * time.Second

// statusCommand is tidegate status.
type statusCommand struct {
	access access
	output output
	watch  bool
}

func newStatusCommand() *cobra.Command {
	var s statusCommand
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the pools, their machines, and which pods wait and why",
		Example: `  tidegate status
  tidegate status --watch
  tidegate status -n render -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	s.access.bind(cmd)
	s.access.bindNamespace(cmd, "list only waiting pods of this namespace; empty means all")
	s.output.bind(cmd, "json", "yaml", "wide")
	cmd.Flags().BoolVarP(&s.watch, "watch", "w", false, "show it again whenever it changes, until interrupted")
	return cmd
}

func (s *statusCommand) run(ctx context.Context, out io.Writer) error {
	client, _, err := s.access.client()
	if err != nil {
		return err
	}
	style := terminalStyle()
	if s.output.format == "wide" {
		style.Width = 0
	}
	if !s.watch {
		_, err := s.show(ctx, client, out, style, nil)
		return err
	}
	return s.follow(ctx, client, out, style)
}

// follow shows the report again and again until ctx ends.
func (s *statusCommand) follow(ctx context.Context, client kubernetes.Interface, out io.Writer, style layout.Style) error {
	var last *cli.Report
	for {
		var err error
		if last, err = s.show(ctx, client, out, style, last); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
	}
}

// clearScreen moves to the top of a terminal and clears it.
const clearScreen = "\x1b[H\x1b[2J"

// show writes the report and returns it. On a terminal each takes the place of
// the last one; elsewhere only one that differs is written.
func (s *statusCommand) show(ctx context.Context, client kubernetes.Interface, out io.Writer, style layout.Style, last *cli.Report) (*cli.Report, error) {
	c, err := cli.ReadCluster(ctx, client, time.Now)
	if err != nil {
		return last, err
	}
	report := cli.Status(c, s.access.namespace)
	if last != nil && !style.Colour && same(report, *last) {
		return last, nil
	}
	var page bytes.Buffer // one write, so that the screen does not flicker
	switch {
	case s.watch && style.Colour:
		page.WriteString(clearScreen)
	case last != nil && s.output.format != "json":
		page.WriteString("---\n")
	}
	err = s.output.write(&page, report, func() { report.Write(&page, c.Now, s.output.format == "wide", style) })
	if err != nil {
		return last, err
	}
	_, err = out.Write(page.Bytes())
	return &report, err
}

// same reports whether the reports differ at most in when the leader reported.
func same(a, b cli.Report) bool {
	a.Leader.Renewed, b.Leader.Renewed = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}
