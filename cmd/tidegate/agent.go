package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/tidegate-k3s/tidegate/agent"
	"github.com/tidegate-k3s/tidegate/azure"
)

// nodeNameVariable is the environment variable that has the name of the node,
// by the downward API.
const nodeNameVariable = "NODE_NAME"

// agentTimeout bounds one request of the agent to the API server.
const agentTimeout = 10 * time.Second

// agentOptions are the flags of tidegate agent.
type agentOptions struct {
	kubeconfig, imdsEndpoint string
}

func newAgentCommand() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Report on this machine's Node what Azure announces for it",
		Long: `Watch what Azure announces to do to this machine (its scheduled events), report
that on the machine's own Node, and approve what the capacity manager approved.
The environment variable NODE_NAME says which Node that is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; empty means the pod's service account")
	cmd.Flags().StringVar(&o.imdsEndpoint, "imds-endpoint", "", "URL of the instance metadata service, for an emulator")
	return cmd
}

func runAgent(ctx context.Context, o agentOptions) error {
	node := os.Getenv(nodeNameVariable)
	if node == "" {
		return errors.New("the environment variable " + nodeNameVariable + " is not set: set it to the name of the node that this runs on, by the downward API's spec.nodeName")
	}
	metadata, err := azure.NewMetadata(azure.Options{IMDSEndpoint: o.imdsEndpoint})
	if err != nil {
		return err
	}
	config, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	config.Timeout = agentTimeout
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client for the cluster: %w", err)
	}
	agent.New(node, client.Nodes(), metadata, newLogger(os.Stderr)).Run(ctx)
	return nil
}
