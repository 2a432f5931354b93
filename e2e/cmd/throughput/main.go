// Command throughput measures on a real control plane what Tidegate costs the
// cluster that it runs on.
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

	"github.com/tidegate-k3s/tidegate/e2e/throughput"
)

func main() {
	options := throughput.Options{Out: os.Stdout}
	flag.IntVar(&options.Rounds, "rounds", 7, "how often each rate is measured with and without Tidegate")
	flag.Parse()
	if flag.NArg() > 0 || options.Rounds < 1 {
		fmt.Fprintln(os.Stderr, "throughput: want --rounds of at least 1 and no further arguments")
		os.Exit(2)
	}
	// What client-go logs when the cluster goes is of no interest here.
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := throughput.Run(ctx, options); err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
		os.Exit(1)
	}
}
