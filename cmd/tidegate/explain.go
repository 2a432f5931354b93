package main

import (
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/cli"
)

func newExplainCommand() *cobra.Command {
	var a access
	var o output
	cmd := &cobra.Command{
		Use:     "explain pod NAME",
		Short:   "Tell why a pod waits, and what happened to it",
		Example: "  tidegate explain pod frames-7-x2k4p -n render",
		Args:    podArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, namespace, err := a.client()
			if err != nil {
				return err
			}
			story, err := cli.ReadStory(cmd.Context(), client, namespace, args[1], time.Now)
			if err != nil {
				return err
			}
			explanation, out := cli.Explain(story), cmd.OutOrStdout()
			return o.write(out, explanation, func() { explanation.Write(out, story.Now, terminalStyle()) })
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return []string{"pod"}, cobra.ShellCompDirectiveNoFileComp
			case 1:
				return podNames(cmd, &a), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	a.bind(cmd)
	a.bindNamespace(cmd, "the pod's namespace; empty means the context's")
	o.bind(cmd, "json", "yaml")
	return cmd
}

func podArgs(_ *cobra.Command, args []string) error {
	if len(args) != 2 || !slices.Contains([]string{"pod", "pods", "po"}, args[0]) {
		return errors.New("name one pod: tidegate explain pod NAME; tidegate status lists those that wait")
	}
	return nil
}

// podNames completes the pods of the namespace; what cannot be read has none.
func podNames(cmd *cobra.Command, a *access) []string {
	client, namespace, err := a.client()
	if err != nil {
		return nil
	}
	pods, err := client.CoreV1().Pods(namespace).List(cmd.Context(), metav1.ListOptions{})
	if err != nil {
		return nil
	}
	names := make([]string, len(pods.Items))
	for i := range pods.Items {
		names[i] = pods.Items[i].Name
	}
	return names
}
