package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/extender"
	"github.com/tidegate-k3s/tidegate/internal/owncerts"
	"github.com/tidegate-k3s/tidegate/webhook"
)

// extenderHost is the only address of the extender: the scheduler of a k3s
// server runs on the same host, and nobody else has a reason to ask.
const extenderHost = "127.0.0.1"

// schedulerUser is the common name of the scheduler's client certificate, in
// every Kubernetes. Source: kubernetes.io, "PKI certificates and requirements".
const schedulerUser = "system:kube-scheduler"

// servingOptions say where webhook and extender are served. They are two
// servers: the one is called from the cluster's network, the other is not to be.
type servingOptions struct {
	webhookHost    string
	webhookPort    int
	webhookCertDir string

	extenderPort     int
	extenderCertDir  string
	extenderClientCA string

	ownCertificates bool
}

func (o *servingOptions) addFlags(f *pflag.FlagSet) {
	const certDir = "folder with tls.crt and tls.key, read again when they change"
	f.StringVar(&o.webhookHost, "webhook-host", "", "address that the webhook listens on; empty means every one")
	f.IntVar(&o.webhookPort, "webhook-port", 9443, "port that the webhook listens on")
	f.StringVar(&o.webhookCertDir, "webhook-cert-dir", "/etc/tidegate/webhook", certDir)
	f.IntVar(&o.extenderPort, "extender-port", 9446, "port that the extender listens on, on loopback only")
	f.StringVar(&o.extenderCertDir, "extender-cert-dir", "/etc/tidegate/extender", certDir)
	f.StringVar(&o.extenderClientCA, "extender-client-ca", "", "file with the CA of the scheduler's client certificate, without which the extender then answers nobody; empty means that it answers every process of its host")
	f.BoolVar(&o.ownCertificates, "own-certificates", false, "issue the certificates here, with authorities in Secrets, and read no folder; for clusters without cert-manager")
}

// serve adds the servers of the roles that are on. The keeper is that of the
// extender's certificate, where Tidegate issues it itself.
func serve(ctx context.Context, mgr ctrl.Manager, o runOptions, extenderKeeper *owncerts.Keeper, log logr.Logger) error {
	if o.webhook {
		// Readiness waits for what the warnings are made of.
		if _, err := mgr.GetCache().GetInformer(ctx, &corev1.ConfigMap{}, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch the published status: %w", err)
		}
		options := ctrlwebhook.Options{Host: o.serving.webhookHost, Port: o.serving.webhookPort, CertDir: o.serving.webhookCertDir}
		keeper := &owncerts.Keeper{Namespace: api.Namespace, Secret: api.WebhookCASecret, Host: api.WebhookService + "." + api.Namespace + ".svc"}
		if err := secure(mgr, &options, o.serving, keeper, log); err != nil {
			return err
		}
		if err := addServer(mgr, "webhook", ctrlwebhook.NewServer(options), webhook.Handlers(mgr.GetClient())); err != nil {
			return err
		}
	}
	if o.extender {
		ext, err := newExtender(ctx, mgr.GetCache(), log.WithName("extender"))
		if err != nil {
			return err
		}
		options := ctrlwebhook.Options{Host: extenderHost, Port: o.serving.extenderPort, CertDir: o.serving.extenderCertDir}
		if err := secure(mgr, &options, o.serving, extenderKeeper, log); err != nil {
			return err
		}
		if file := o.serving.extenderClientCA; file != "" {
			ca, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("read --extender-client-ca: %w", err)
			}
			demand, err := onlyScheduler(ca)
			if err != nil {
				return fmt.Errorf("--extender-client-ca %s: %w", file, err)
			}
			options.TLSOpts = append(options.TLSOpts, demand)
		}
		if err := addServer(mgr, "extender", ctrlwebhook.NewServer(options), ext.Handlers()); err != nil {
			return err
		}
	}
	return nil
}

// secure sets what both servers speak, and where the certificate comes from if
// not from a folder.
func secure(mgr ctrl.Manager, server *ctrlwebhook.Options, o servingOptions, keeper *owncerts.Keeper, log logr.Logger) error {
	// API servers and schedulers know TLS 1.3.
	server.TLSOpts = append(server.TLSOpts, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 })
	if !o.ownCertificates {
		return nil
	}
	client, err := kubernetes.NewForConfig(mgr.GetConfig())
	if err != nil {
		return fmt.Errorf("client for the cluster: %w", err)
	}
	keeper.Client, keeper.Now, keeper.Log = client, time.Now, log.WithName("certificates")
	if keeper.Namespace == api.Namespace {
		keeper.Publish = owncerts.InWebhooks(client)
	}
	server.TLSOpts = append(server.TLSOpts, func(c *tls.Config) { c.GetCertificate = keeper.GetCertificate })
	if err := mgr.Add(keeper); err != nil {
		return fmt.Errorf("add the keeper of the certificate of %s: %w", keeper.Host, err)
	}
	return nil
}

// addServer has the manager run the server, and readiness speak of it.
func addServer(mgr ctrl.Manager, name string, server ctrlwebhook.Server, handlers map[string]http.Handler) error {
	for path, handler := range handlers {
		server.Register(path, handler)
	}
	if err := mgr.Add(server); err != nil {
		return fmt.Errorf("add the server of the %s: %w", name, err)
	}
	return mgr.AddReadyzCheck(name, server.StartedChecker())
}

// onlyScheduler demands the scheduler's client certificate, signed by the CA.
func onlyScheduler(caPEM []byte) (func(*tls.Config), error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(caPEM) {
		return nil, fmt.Errorf("no certificate in it: give the PEM file of the cluster's client CA")
	}
	return func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if name := state.PeerCertificates[0].Subject.CommonName; name != schedulerUser {
				return fmt.Errorf("the client is %q: only %s is answered", name, schedulerUser)
			}
			return nil
		}
	}, nil
}

// newExtender reads the nodes from the cache's own store, and follows the pods
// as the cache does.
func newExtender(ctx context.Context, c cache.Cache, log logr.Logger) (*extender.Extender, error) {
	nodes, err := c.GetInformer(ctx, &corev1.Node{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch nodes: %w", err)
	}
	shared, ok := nodes.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("the cache's informer for nodes is a %T, which has no store", nodes)
	}
	pods, err := c.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	ext := &extender.Extender{Nodes: shared.GetStore(), Now: time.Now, Log: log}
	if _, err := pods.AddEventHandler(&ext.Tenants); err != nil {
		return nil, fmt.Errorf("follow pods: %w", err)
	}
	return ext, nil
}
