package k3s

import (
	"context"
	"fmt"
	"strings"
)

// Run runs a program on the server, and returns what it printed and its exit
// status. The error is that of a program that could not be run at all.
type Run func(ctx context.Context, program string, args ...string) (output string, status int, err error)

// metadataRule is the rule that keeps pods from Azure's metadata service, as
// iptables takes it: packets of pods pass this chain, those of the host do not.
var metadataRule = strings.Fields("PREROUTING -d 169.254.169.254 -j DROP")

// MetadataGuarded reports whether this server has the rule that keeps its pods
// from Azure's metadata service: a pod that reaches it can use the server's
// identity. Nothing is sent there; the firewall is asked.
func MetadataGuarded(ctx context.Context, run Run) (bool, error) {
	output, status, err := run(ctx, "iptables", append([]string{"-w", "-t", "raw", "-C"}, metadataRule...)...)
	switch {
	case err != nil:
		return false, err
	case status == 0:
		return true, nil
	case status == 1: // iptables has looked and found none
		return false, nil
	}
	return false, fmt.Errorf("iptables: %s; run this as root", strings.TrimSpace(output))
}
