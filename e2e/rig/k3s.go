package rig

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidegate-k3s/tidegate/k3s"
)

// InstallOnServer runs tidegate k3s install on a folder that looks like a k3s
// server after its first start, and returns the authorities that its scheduler
// would trust from then on.
func (r *Rig) InstallOnServer(ctx context.Context) (*x509.CertPool, error) {
	root, err := os.MkdirTemp(r.dir, "server-")
	if err != nil {
		return nil, err
	}
	for name, from := range map[string]string{
		"cred/scheduler.kubeconfig": r.Cluster.Kubeconfig,
		"tls/client-scheduler.crt":  filepath.Join(r.Cluster.Dir, "client-scheduler.crt"),
		"tls/client-scheduler.key":  filepath.Join(r.Cluster.Dir, "client-scheduler.key"),
	} {
		text, err := os.ReadFile(from)
		if err != nil {
			return nil, fmt.Errorf("what k3s would have written: %w", err)
		}
		file := filepath.Join(root, "var/lib/rancher/k3s/server", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, err
		}
	}
	if out, err := r.Run(ctx, r.Cluster.Kubeconfig, "k3s", "install", "--root", root, "--kubeconfig", r.Cluster.Kubeconfig); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(root, k3s.ExtenderCA))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate: %s", k3s.ExtenderCA, text)
	}
	return roots, nil
}

// SchedulerCertificate is the client certificate of the cluster's scheduler.
func (r *Rig) SchedulerCertificate() (tls.Certificate, error) {
	return tls.LoadX509KeyPair(filepath.Join(r.Cluster.Dir, "client-scheduler.crt"), filepath.Join(r.Cluster.Dir, "client-scheduler.key"))
}

// ExtenderCertificate connects to the extender as a scheduler does that trusts
// the authorities, and returns the certificate that it is shown.
func (r *Rig) ExtenderCertificate(roots *x509.CertPool) ([]byte, error) {
	client, err := r.SchedulerCertificate()
	if err != nil {
		return nil, err
	}
	conn, err := tls.Dial("tcp", r.ExtenderAddress(), &tls.Config{RootCAs: roots, ServerName: ExtenderName, Certificates: []tls.Certificate{client}})
	if err != nil {
		return nil, fmt.Errorf("the scheduler would not trust the extender: %w", err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Raw, nil
}
