//go:build !failpoint

package main

// failpoint is nil: only test builds can be told to die at a write.
var failpoint func(string)
