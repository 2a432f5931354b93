// Package rig sets up everything that Tidegate's main job needs on one
// machine: a real control plane, an emulated Azure whose machines join it, and
// Tidegate itself as a process of its own, with its own Roles and certificates.
package rig

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/azure/emulator/k3sagent"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

// ServerNode is the name of the cluster's server, which is outside every pool.
const ServerNode = "server-0"

// Options describe a rig.
type Options struct {
	// Azure is the emulated subscription.
	Azure emulator.Config
	// APIServers is how many API servers the cluster has; 0 means 1.
	APIServers int
	// Settle is tidegate run's --settle.
	Settle time.Duration
	// Overlay is the kustomization that is applied, a folder below manifests;
	// empty means the one that most clusters apply.
	Overlay string
	// Certificates come from the cluster's own authority if this is nil, unless
	// OwnCertificates has Tidegate issue them.
	Certificates    Certificates
	OwnCertificates bool
	// NodeGracePeriod is that of the cluster.
	NodeGracePeriod time.Duration
	// Failpoints builds Tidegate so that Process.Failpoint works.
	Failpoints bool
	// Out is told about builds; nil means os.Stderr.
	Out io.Writer
}

// Rig is a running rig.
type Rig struct {
	Cluster *cluster.Cluster
	Azure   *emulator.Server
	// Client is the administrator's, without a rate limit.
	Client kubernetes.Interface

	options      Options
	root         string // of the checkout
	binary       string // that was built from it
	mu           sync.Mutex
	kubeconfigs  map[string]string // of the ServiceAccounts that were needed
	webhookCert  string
	extenderCert string
	webhookPort  int // where the API server expects the webhook
	extenderPort int // where the scheduler expects the extender
	dir          string
	processes    []*Process
	cancel       context.CancelFunc // ends the machines' agents
}

// Start sets up a rig without Tidegate; see StartTidegate. The context bounds
// the start and the emulator's life; everything runs until Stop.
func Start(ctx context.Context, options Options) (_ *Rig, err error) {
	if options.Out == nil {
		options.Out = os.Stderr
	}
	r := &Rig{options: options, kubeconfigs: map[string]string{}}
	defer func() {
		if err != nil {
			r.Stop()
		}
	}()
	if r.dir, err = os.MkdirTemp("", "tidegate-rig-"); err != nil {
		return nil, err
	}
	if r.root, err = moduleDir(ctx); err != nil {
		return nil, err
	}
	if r.binary, err = build(ctx, r.root, r.dir, options.Failpoints, options.Out); err != nil {
		return nil, err
	}
	if r.webhookPort, err = cluster.FreePort(); err != nil {
		return nil, err
	}
	if r.extenderPort, err = cluster.FreePort(); err != nil {
		return nil, err
	}
	schedulerConfig, err := r.manifest("k3s/scheduler.yaml")
	if err != nil {
		return nil, err
	}
	r.Cluster, err = cluster.Start(ctx, cluster.Options{
		APIServers:      options.APIServers,
		NodeGracePeriod: options.NodeGracePeriod,
		SchedulerConfig: schedulerConfig,
		ExtenderAddress: r.ExtenderAddress(),
		AuditGroups:     []string{"system:serviceaccounts:" + api.Namespace, "system:serviceaccounts:" + api.ServerNamespace},
		Out:             options.Out,
	})
	if err != nil {
		return nil, fmt.Errorf("start the control plane: %w", err)
	}
	if r.Client, err = kubernetes.NewForConfig(r.Cluster.Config()); err != nil {
		return nil, err
	}
	if err := r.Install(ctx); err != nil {
		return nil, fmt.Errorf("install Tidegate's manifests: %w", err)
	}
	if err := AddServerNode(ctx, r.Client); err != nil {
		return nil, fmt.Errorf("add the server's node: %w", err)
	}
	return r, r.startAzure(ctx)
}

// startAzure starts the emulator, whose machines join the cluster.
func (r *Rig) startAzure(ctx context.Context) (err error) {
	agents := k3sagent.New(r.Client, slog.New(slog.NewTextHandler(r.options.Out, &slog.HandlerOptions{Level: slog.LevelWarn})))
	ctx, r.cancel = context.WithCancel(ctx)
	go agents.Run(ctx)
	config := r.options.Azure
	config.Observers = append(config.Observers, agents)
	if r.Azure, err = emulator.New(config); err != nil {
		return err
	}
	if err := r.Azure.Start(ctx); err != nil {
		return fmt.Errorf("start the emulated Azure: %w", err)
	}
	return os.WriteFile(r.armCA(), r.Azure.CAPEM(), 0o600)
}

// ExtenderName is the name in the extender's certificate.
const ExtenderName = api.ExtenderHost

// ExtenderAddress is where the scheduler expects the extender.
func (r *Rig) ExtenderAddress() string { return fmt.Sprintf("127.0.0.1:%d", r.extenderPort) }

// WebhookAddress is where the API server expects the webhook.
func (r *Rig) WebhookAddress() string { return fmt.Sprintf("127.0.0.1:%d", r.webhookPort) }

// WebhookName is the name in the webhook's certificate.
func (r *Rig) WebhookName() string { return fmt.Sprintf("%s.%s.svc", webhookService, api.Namespace) }

func (r *Rig) armCA() string { return filepath.Join(r.dir, "arm-ca.crt") }

// Stop ends everything and removes its files.
func (r *Rig) Stop() {
	for _, p := range r.processes {
		p.Kill()
	}
	if r.Azure != nil {
		r.cancel()
		r.Azure.Close()
	}
	if r.Cluster != nil {
		r.Cluster.Stop()
	}
	os.RemoveAll(r.dir)
}

// AddServerNode makes the node of a k3s server, on which no batch pod fits.
func AddServerNode(ctx context.Context, client kubernetes.Interface) error {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("2"),
		corev1.ResourceMemory: resource.MustParse("4Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        ServerNode,
			Annotations: map[string]string{cluster.NodeAnnotation: cluster.NodeAnnotationValue},
			Labels: map[string]string{
				corev1.LabelHostname:                    ServerNode,
				corev1.LabelOSStable:                    "linux",
				corev1.LabelArchStable:                  "amd64",
				"node-role.kubernetes.io/control-plane": "true",
			},
		},
		Spec:   corev1.NodeSpec{ProviderID: "k3s://" + ServerNode},
		Status: corev1.NodeStatus{Capacity: resources, Allocatable: resources},
	}
	_, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	return err
}
