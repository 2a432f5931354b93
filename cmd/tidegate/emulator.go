package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/azure/emulator/k3sagent"
)

// emulatorOptions are the flags of tidegate emulator.
type emulatorOptions struct {
	config, kubeconfig string
}

func newEmulatorCommand() *cobra.Command {
	var o emulatorOptions
	cmd := &cobra.Command{
		Use:   "emulator",
		Short: "Serve an emulated Azure on loopback, to try Tidegate without an account",
		Long: `Serve an emulated Azure on loopback: the instance metadata service and Azure
Resource Manager with the scale sets that --config describes. With --kubeconfig
its machines join that cluster as nodes, which KWOK has to keep alive.

It prints the flags that point tidegate run at it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runEmulator(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&o.config, "config", "", "YAML file that describes the subscription")
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "cluster that booted machines join; empty means none")
	return cmd
}

func runEmulator(ctx context.Context, o emulatorOptions, out io.Writer) error {
	if o.config == "" {
		return errors.New("say which scale sets there are: --config FILE")
	}
	config, err := emulator.LoadConfig(o.config)
	if err != nil {
		return err
	}
	if o.kubeconfig != "" {
		cluster, err := restConfig(o.kubeconfig)
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(cluster)
		if err != nil {
			return fmt.Errorf("client for the cluster: %w", err)
		}
		agents := k3sagent.New(client, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		go agents.Run(ctx)
		config.Observers = append(config.Observers, agents)
	}
	server, err := emulator.New(config)
	if err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return err
	}
	defer server.Close()
	dir, err := os.MkdirTemp("", "tidegate-emulator-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, server.CAPEM(), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(out, "--imds-endpoint=%s --arm-endpoint=%s --arm-ca=%s\n", server.IMDSEndpoint(), server.ARMEndpoint(), ca)
	<-ctx.Done()
	return nil
}
