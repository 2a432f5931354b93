//go:build failpoint

package main

import (
	"os"
	"syscall"
)

// failpoint kills the process, as kill -9 would, at the write that
// TIDEGATE_FAILPOINT names, such as "fence:after".
func failpoint(name string) {
	if name == os.Getenv("TIDEGATE_FAILPOINT") {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
