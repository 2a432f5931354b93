package main

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// newLogger writes one line of key=value pairs for each thing that happens,
// and has the libraries do so too.
func newLogger(w io.Writer) logr.Logger {
	log := logr.FromSlogHandler(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo}))
	klog.SetLogger(log)
	return log
}
