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
	options := demo.Options{Out: os.Stdout}
	if fd := int(os.Stdout.Fd()); term.IsTerminal(fd) {
		options.Size = func() (int, int, error) { return term.GetSize(fd) }
	}
	flag.StringVar(&options.Trace, "trace", "", "pod list of a trace to replay, instead of the built-in scenario")
	flag.IntVar(&options.Pods, "pods", 200, "how many batch pods of the trace to replay")
	flag.DurationVar(&options.Duration, "duration", 5*time.Minute, "how long the trace's arrivals take")
	flag.Parse()
	if flag.NArg() > 0 || options.Pods < 1 || options.Duration <= 0 {
		fmt.Fprintln(os.Stderr, "demo: want --pods of at least 1, a positive --duration and no further arguments")
		os.Exit(2)
	}
	// What client-go logs when the cluster goes is of no interest here.
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo.Run(ctx, options); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
