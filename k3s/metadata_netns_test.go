package k3s

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// A server and a pod on it, and, in the place of the metadata service, an address
// that belongs to nobody (RFC 5737), each in a network namespace of its own.
const (
	metadataService = "169.254.169.254"
	standIn         = "203.0.113.254"
)

// TestRuleOnAServer runs the unit of docs/install.md on that server: what a pod
// sends to the metadata service is dropped, what the server itself sends is not,
// and tidegate k3s check finds the rule.
func TestRuleOnAServer(t *testing.T) {
	server := newServer(t)
	for _, from := range []string{server.host, server.pod} {
		if !server.reaches(t, from) {
			t.Fatalf("without the rule %s does not reach the service, so that nothing can be judged", from)
		}
	}
	if guarded, err := MetadataGuarded(t.Context(), server.run); guarded || err != nil {
		t.Errorf("without the rule it is reported as guarded %v, %v", guarded, err)
	}

	page, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	unit := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindSubmatch(page)
	if unit == nil {
		t.Fatal("docs/install.md has no unit that starts anything")
	}
	words := strings.Fields(string(unit[1]))
	if out, status, err := server.run(t.Context(), words[0], words[1:]...); err != nil || status != 0 {
		t.Fatalf("%s: %v, %d, %s", unit[1], err, status, out)
	}
	if !server.reaches(t, server.host) {
		t.Error("with the rule the server does not reach the service, and Tidegate on it gets no token")
	}
	if server.reaches(t, server.pod) {
		t.Error("with the rule a pod reaches the service")
	}
	if guarded, err := MetadataGuarded(t.Context(), server.run); !guarded || err != nil {
		t.Errorf("with the rule it is reported as guarded %v, %v", guarded, err)
	}
}

// testServer is the server, a pod on it and the service, by their namespaces.
type testServer struct{ host, pod, service string }

func newServer(t *testing.T) testServer {
	t.Helper()
	for _, tool := range []string{"ip", "iptables", "timeout", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			without(t, err)
		}
	}
	prefix := fmt.Sprintf("tidegate-%d-", os.Getpid())
	s := testServer{host: prefix + "host", pod: prefix + "pod", service: prefix + "service"}
	for _, namespace := range []string{s.host, s.pod, s.service} {
		if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", namespace).CombinedOutput(); err != nil {
			without(t, fmt.Errorf("add a network namespace: %w: %s", err, out))
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", namespace).Run() })
	}
	for peer, network := range map[string]struct{ host, peer string }{
		s.pod:     {"198.51.100.1", "198.51.100.2"},
		s.service: {"203.0.113.1", standIn},
	} {
		link := strings.TrimPrefix(peer, prefix)
		for _, command := range []string{
			"ip -n " + s.host + " link add " + link + " type veth peer name eth0 netns " + peer,
			"ip -n " + s.host + " address add " + network.host + "/24 dev " + link,
			"ip -n " + s.host + " link set " + link + " up",
			"ip -n " + peer + " address add " + network.peer + "/24 dev eth0",
			"ip -n " + peer + " link set eth0 up",
			"ip -n " + peer + " route add default via " + network.host,
		} {
			words := strings.Fields(command)
			if out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
		}
	}
	// As every node of a cluster does, it passes its pods' packets on.
	if out, status, err := s.run(t.Context(), "bash", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"); err != nil || status != 0 {
		t.Fatalf("have the server pass packets on: %v, %d: %s", err, status, out)
	}
	return s
}

// without skips the test where its tools or rights are missing; CI installs them.
func without(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is to have iptables, iproute2 and root: %v", err)
	}
	t.Skipf("the rule is not tested here, which takes iptables, iproute2 and root: %v", err)
}

// run is a Run on the server, where the service has the other address.
func (s testServer) run(ctx context.Context, program string, args ...string) (string, int, error) {
	return s.in(ctx, s.host, program, args...)
}

func (s testServer) in(ctx context.Context, namespace, program string, args ...string) (string, int, error) {
	words := append([]string{"netns", "exec", namespace, program}, args...)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], metadataService, standIn)
	}
	out, err := exec.CommandContext(ctx, "ip", words...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}

// reaches reports whether a connection from the namespace gets an answer: nobody
// listens at the service, so that the answer is a refusal. Silence is a drop.
func (s testServer) reaches(t *testing.T, namespace string) bool {
	t.Helper()
	out, status, err := s.in(t.Context(), namespace, "timeout", "1", "bash", "-c", "< /dev/tcp/"+metadataService+"/80")
	const timedOut = 124
	switch {
	case err == nil && status == timedOut:
		return false
	case err == nil && strings.Contains(out, "Connection refused"):
		return true
	}
	t.Fatalf("connect from %s: %v, %d: %s", namespace, err, status, out)
	return false
}
