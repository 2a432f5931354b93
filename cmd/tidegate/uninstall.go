package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/cli"
	"github.com/tidegate-k3s/tidegate/manifests"
)

func newUninstallCommand() *cobra.Command {
	var a access
	var yes, force bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take Tidegate out of the cluster and leave nothing of it behind",
		Long: `Take Tidegate out of the cluster: stop it, let the waiting pods through, take its
marks, fences and labels off the nodes, and delete what it is made of. Machines
and running pods stay as they are. Without --yes it only says what it would do.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return uninstall(cmd.Context(), &a, lines(cmd), yes, force)
		},
	}
	a.bind(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&force, "force", false, "do it although machines are being deleted, whose nodes nobody will then remove")
	return cmd
}

func uninstall(ctx context.Context, a *access, out io.Writer, yes, force bool) error {
	config, _, err := a.config()
	if err != nil {
		return err
	}
	reach, err := client.New(config, client.Options{})
	if err != nil {
		return fmt.Errorf("client for the cluster: %w", err)
	}
	objects, err := manifests.Objects()
	if err != nil {
		return fmt.Errorf("read the manifests: %w", err)
	}
	u := cli.Uninstaller{Client: reach, Objects: objects, Out: out, Force: force}
	if yes {
		return u.Run(ctx)
	}
	traces, err := u.Find(ctx)
	if err != nil {
		return err
	}
	u.Describe(traces)
	_, err = fmt.Fprintln(out, "Nothing was done: say --yes to do it.")
	return err
}
