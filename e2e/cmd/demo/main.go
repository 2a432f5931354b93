// Command demo plays Tidegate's main job against a real control plane and an
// emulated Azure.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/term"
	"k8s.io/klog/v2"

	"github.com/tidegate-k3s/tidegate/e2e/demo"
)

func main() {
	options := demo.Options{Out: os.Stdout, Table: term.IsTerminal(int(os.Stdout.Fd()))}
	flag.StringVar(&options.Trace, "trace", "", "file with a trace to replay instead of the built-in scenario")
	flag.IntVar(&options.Pods, "pods", 200, "how many pods of the trace to replay")
	flag.DurationVar(&options.Duration, "duration", 5*time.Minute, "how long the trace's arrivals take")
	flag.Parse()
	// What client-go logs when the cluster goes is of no interest here.
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo.Run(ctx, options); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
