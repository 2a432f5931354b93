package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
)

func newRetireCommand() *cobra.Command {
	return newWishCommand(&cobra.Command{
		Use:   "retire NODE",
		Short: "Give a node no new pods and delete, restart or reimage its machine once it is empty",
		Long: `Give a node no new pods and delete its machine once it is empty, or restart or
reimage it. What runs on it runs to its end. The pool's minimum holds: another
machine may be bought for it.`,
	}, cli.UndoRetire, cli.Retire,
		option{"restart", "restart the machine instead; the node serves again afterwards", cli.Restart},
		option{"reimage", "give the machine a new disk of the scale set's image instead; it joins again afterwards", cli.Reimage})
}

func newKeepCommand() *cobra.Command {
	return newWishCommand(&cobra.Command{
		Use:   "keep NODE",
		Short: "Never delete a node's machine, whatever the demand",
	}, cli.UndoKeep, cli.Keep)
}

// option is a flag that asks for another wish than its command's own.
type option struct {
	flag, usage string
	wish        cli.Wish
}

// newWishCommand completes a command that asks something of a node.
func newWishCommand(cmd *cobra.Command, undone, wish cli.Wish, others ...option) *cobra.Command {
	var a access
	chosen := make([]bool, 1+len(others)) // undo, and the others in their order
	exclusive := []string{"undo"}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("name one node: tidegate %s; tidegate status lists them", cmd.Use)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return say(cmd, &a, func(ctx context.Context, client kubernetes.Interface) (string, error) {
			asked := wish
			if chosen[0] {
				asked = undone
			}
			for i, o := range others {
				if chosen[i+1] {
					asked = o.wish
				}
			}
			return cli.Ask(ctx, client, args[0], asked)
		})
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return machineNames(cmd, &a), cobra.ShellCompDirectiveNoFileComp
	}
	a.bind(cmd)
	cmd.Flags().BoolVar(&chosen[0], "undo", false, "take it back")
	for i, o := range others {
		cmd.Flags().BoolVar(&chosen[i+1], o.flag, false, o.usage)
		exclusive = append(exclusive, o.flag)
	}
	cmd.MarkFlagsMutuallyExclusive(exclusive...)
	return cmd
}

func newPauseCommand() *cobra.Command {
	return newSayCommand(&cobra.Command{
		Use:   "pause",
		Short: "Have Tidegate only observe: nothing is bought, released or retired",
		Args:  cobra.NoArgs,
	}, cli.Pause)
}

func newResumeCommand() *cobra.Command {
	return newSayCommand(&cobra.Command{
		Use:   "resume",
		Short: "Take tidegate pause back",
		Args:  cobra.NoArgs,
	}, cli.Resume)
}

func newSayCommand(cmd *cobra.Command, do func(context.Context, kubernetes.Interface) (string, error)) *cobra.Command {
	var a access
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return say(cmd, &a, do) }
	a.bind(cmd)
	return cmd
}

// say does something with the cluster and prints the sentence about it.
func say(cmd *cobra.Command, a *access, do func(context.Context, kubernetes.Interface) (string, error)) error {
	client, _, err := a.client()
	if err != nil {
		return err
	}
	said, err := do(cmd.Context(), client)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(lines(cmd), said)
	return err
}

// machineNames completes the nodes of the pools; what cannot be read has none.
func machineNames(cmd *cobra.Command, a *access) []string {
	client, _, err := a.client()
	if err != nil {
		return nil
	}
	nodes, err := client.CoreV1().Nodes().List(cmd.Context(), metav1.ListOptions{LabelSelector: api.PoolLabel})
	if err != nil {
		return nil
	}
	names := make([]string, len(nodes.Items))
	for i := range nodes.Items {
		names[i] = nodes.Items[i].Name
	}
	return names
}
