package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tidegate-k3s/tidegate/cli/layout"
)

// access is how people's commands reach the cluster: with the caller's own
// kubeconfig, found as kubectl finds it.
type access struct {
	kubeconfig, context, namespace string
}

// bind adds the flags, which are kubectl's.
func (a *access) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.kubeconfig, "kubeconfig", "", "kubeconfig file; empty means KUBECONFIG, else ~/.kube/config")
	f.StringVar(&a.context, "context", "", "context of the kubeconfig; empty means its current one")
}

// bindNamespace adds the flag for commands that are about one namespace.
func (a *access) bindNamespace(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVarP(&a.namespace, "namespace", "n", "", usage)
}

// config returns how to reach the cluster, and the namespace that is meant.
func (a *access) config() (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: a.context}
	overrides.Context.Namespace = a.namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, "", fmt.Errorf("no cluster is configured: set KUBECONFIG or give --kubeconfig; a k3s server has /etc/rancher/k3s/k3s.yaml")
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS = -1 // the API server limits by what it can bear
	config.WarningHandler = rest.NoWarnings{}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	return config, namespace, nil
}

// client returns a client for the cluster, and the namespace that is meant.
func (a *access) client() (kubernetes.Interface, string, error) {
	config, namespace, err := a.config()
	if err != nil {
		return nil, "", err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, "", fmt.Errorf("client for the cluster: %w", err)
	}
	return client, namespace, nil
}

// maxColumns is how wide texts are at most, so that they fit everywhere.
const maxColumns = 100

// lines is the command's standard output for sentences of any length.
func lines(cmd *cobra.Command) layout.Lines {
	return layout.Lines{W: cmd.OutOrStdout(), Width: maxColumns}
}

// terminalStyle fits texts to standard output: colours and its width if it is a
// terminal.
func terminalStyle() layout.Style {
	style := layout.Style{Width: maxColumns}
	fd := int(os.Stdout.Fd())
	if !term.IsTerminal(fd) {
		return style
	}
	style.Colour = os.Getenv("NO_COLOR") == ""
	if columns, _, err := term.GetSize(fd); err == nil && columns > 0 {
		style.Width = min(columns, maxColumns)
	}
	return style
}
