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

// CheckMetadata says what is to be said of the metadata service on this server:
// a pod that reaches it can use the server's identity. Nothing is sent there;
// the firewall is asked for the rule. An empty text means that the rule is in
// place.
func CheckMetadata(ctx context.Context, run Run) string {
	output, status, err := run(ctx, "iptables", append([]string{"-w", "-t", "raw", "-C"}, metadataRule...)...)
	switch {
	case err != nil:
		return fmt.Sprintf("whether pods reach the metadata service was not judged: %v", err)
	case status == 0:
		return ""
	case status == 1: // iptables has looked and found none
		return "iptables has no rule that keeps pods on this server from the metadata service: if the server has a managed identity, they can use it; docs/install.md has the unit that adds the rule"
	}
	return fmt.Sprintf("whether pods reach the metadata service was not judged: iptables: %s; run this as root", strings.TrimSpace(output))
}
