// Command soak retires machines by the thousand on a real control plane whose
// bindings are delayed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/tidegate-k3s/tidegate/e2e/soak"
)

func main() {
	options := soak.Options{Out: os.Stdout}
	flag.IntVar(&options.Retirements, "retirements", 1000, "after how many retired machines to end")
	flag.Parse()
	if flag.NArg() > 0 || options.Retirements < 1 {
		fmt.Fprintln(os.Stderr, "soak: want --retirements of at least 1 and no further arguments")
		os.Exit(2)
	}
	// What client-go logs when the cluster goes is of no interest here.
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := soak.Run(ctx, options); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}
