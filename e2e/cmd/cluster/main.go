// Command cluster starts a Kubernetes control plane on this machine, prints how to reach it and keeps it until Ctrl-C.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

func main() {
	buildOnly := flag.Bool("build-only", false, "build the binaries that a cluster needs, and start none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	run := runCluster
	if *buildOnly {
		run = buildBinary
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func buildBinary(ctx context.Context) error {
	binary, err := cluster.Binary(ctx, os.Stderr)
	if err == nil {
		fmt.Println(binary)
	}
	return err
}

func runCluster(ctx context.Context) error {
	fmt.Fprintln(os.Stderr, "starting kine, kube-apiserver, kube-scheduler, kube-controller-manager and kwok")
	c, err := cluster.Start(ctx, cluster.Options{})
	if err != nil {
		return err
	}
	defer c.Stop()
	fmt.Printf("export KUBECONFIG=%s\n", c.Kubeconfig)
	fmt.Printf("export PATH=%s:$PATH # kubectl\n", filepath.Dir(c.KubectlPath))
	fmt.Fprintf(os.Stderr, "logs are in %s; Ctrl-C ends the cluster and removes its files\n", c.Dir)
	<-ctx.Done()
	return nil
}
