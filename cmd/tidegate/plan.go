package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate-k3s/tidegate/cli"
)

func newPlanCommand() *cobra.Command {
	var a access
	var o output
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what Tidegate would do now, and do nothing",
		Long: `Show what Tidegate would do now, and do nothing. The plan is made here, by the
same code and from the same objects as the leader's; what the leader knows of the
pools it has published. A plan for a cluster at rest is empty.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, _, err := a.client()
			if err != nil {
				return err
			}
			c, err := cli.ReadCluster(cmd.Context(), client, time.Now)
			if err != nil {
				return err
			}
			decision, err := c.Decision()
			if err != nil {
				return err
			}
			plan, out := cli.NewPlan(decision), cmd.OutOrStdout()
			return o.write(out, plan, func() { plan.Write(out, c.Now, terminalStyle()) })
		},
	}
	a.bind(cmd)
	o.bind(cmd, "json", "yaml")
	return cmd
}
