package main

import (
	"io"
	"strings"
	"testing"
)

func TestAgentNeedsItsNodesName(t *testing.T) {
	t.Setenv(nodeNameVariable, "")
	root := newRootCommand("tidegate")
	root.SetArgs([]string{"agent", "--imds-endpoint", "http://127.0.0.1:1"})
	root.SetOut(io.Discard)
	err := root.ExecuteContext(t.Context())
	if err == nil || !strings.Contains(err.Error(), "NODE_NAME is not set") {
		t.Errorf("error %v, want one that names the variable", err)
	}
}
