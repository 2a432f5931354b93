package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/client-go/util/cert"

	"github.com/tidegate-k3s/tidegate/k3s"
)

// serverRoot has what k3s writes at its first start, and the PEM file of an
// authority.
func serverRoot(t *testing.T) (root, ca string) {
	t.Helper()
	root = t.TempDir()
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("client", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"cred/scheduler.kubeconfig": `{clusters: [{name: a, cluster: {server: "https://127.0.0.1:6444"}}], contexts: [{name: a, context: {cluster: a}}], current-context: a}`,
		"tls/client-scheduler.crt":  string(certPEM),
		"tls/client-scheduler.key":  string(keyPEM),
	} {
		file := filepath.Join(root, "var/lib/rancher/k3s/server", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, selfSigned(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return root, ca
}

func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "test-ca"}, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := cert.EncodeCertificates(authority)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// runCommand returns what the command says, as if it were one line: what it writes
// are lines that fit everywhere.
func runCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newK3sCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(line) - 1; n > maxColumns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	return strings.Join(strings.Fields(out.String()), " "), err
}

func TestK3sCommands(t *testing.T) {
	root, ca := serverRoot(t)
	if out, err := runCommand(t, "check", "--root", root); err == nil || !strings.Contains(out, "run tidegate k3s install") || !strings.Contains(err.Error(), "do not restart k3s") {
		t.Errorf("before the installation check says %q, %v", out, err)
	}
	out, err := runCommand(t, "install", "--root", root, "--ca", ca)
	if err != nil || !strings.Contains(out, "wrote /"+k3s.Snippet) || strings.Count(out, k3s.RestartCommand) != 1 {
		t.Errorf("install says %q, %v", out, err)
	}
	out, err = runCommand(t, "install", "--root", root, "--ca", ca)
	if err != nil || !strings.Contains(out, "every file is in place already") || strings.Count(out, k3s.RestartCommand) != 1 {
		t.Errorf("install says %q, %v the second time", out, err)
	}
	if out, err := runCommand(t, "check", "--root", root); err != nil || !strings.Contains(out, "the files are in order") || !strings.Contains(out, "not judged: the command line") {
		t.Errorf("check says %q, %v", out, err)
	}
	if _, err := runCommand(t, "install", "--root", root); err == nil || !strings.Contains(err.Error(), "run this as root on a k3s server, or give --kubeconfig") {
		t.Errorf("without a cluster install says %v", err)
	}
}
