package certs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cert-manager/cert-manager/pkg/api"
	certmanager "github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	requestsca "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	requestsselfsigned "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

const certManagerModule = "github.com/cert-manager/cert-manager"

// controllers are those of cert-manager that a CA and a self-signed issuer need.
var controllers = []string{
	issuers.ControllerName,
	approver.ControllerName, requestsca.CRControllerName, requestsselfsigned.CRControllerName,
	issuing.ControllerName, keymanager.ControllerName, readiness.ControllerName,
	requestmanager.ControllerName, revisionmanager.ControllerName, trigger.ControllerName,
}

// installCRDs applies cert-manager's own definitions.
func installCRDs(ctx context.Context, c *cluster.Cluster) error {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", certManagerModule).Output()
	if err != nil {
		return fmt.Errorf("find cert-manager's module: %w", err)
	}
	if _, err := c.Kubectl(ctx, "apply", "--server-side", "--filename", filepath.Join(strings.TrimSpace(string(dir)), "deploy", "crds")); err != nil {
		return err
	}
	_, err = c.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	return err
}

// startCertManager runs cert-manager's controllers and its cainjector until the
// returned function is called.
func startCertManager(ctx context.Context, c *cluster.Cluster) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	factory, err := certmanager.NewContextFactory(ctx, certmanager.ContextOptions{
		Kubeconfig:    c.Kubeconfig,
		IssuerOptions: certmanager.IssuerOptions{ClusterResourceNamespace: "kube-system"},
	})
	if err != nil {
		return nil, fmt.Errorf("set up cert-manager: %w", err)
	}
	shared, err := factory.Build()
	if err != nil {
		return nil, fmt.Errorf("set up cert-manager: %w", err)
	}
	var running []certmanager.Interface
	for _, name := range controllers {
		construct, ok := certmanager.Known()[name]
		if !ok {
			return nil, fmt.Errorf("cert-manager has no controller %s", name)
		}
		controller, err := construct(factory)
		if err != nil {
			return nil, fmt.Errorf("set up cert-manager's controller %s: %w", name, err)
		}
		running = append(running, controller)
	}
	injector, err := newInjector(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("set up cainjector: %w", err)
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	shared.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	var done sync.WaitGroup
	for _, controller := range running {
		done.Go(func() {
			if err := controller.Run(5, ctx); err != nil {
				fmt.Fprintln(os.Stderr, "cert-manager ended:", err)
			}
		})
	}
	done.Go(func() {
		if err := injector.Start(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "cainjector ended:", err)
		}
	})
	return func() {
		cancel()
		done.Wait()
	}, nil
}

// newInjector is cainjector as its own command sets it up.
func newInjector(ctx context.Context, c *cluster.Cluster) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, api.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	again := true // several in one process, one after the other
	reach := c.Config()
	reach.UserAgent = "cert-manager-cainjector/e2e" // its name as field manager
	mgr, err := ctrl.NewManager(reach, ctrl.Options{
		Scheme:     scheme,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Client:     client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Controller: config.Controller{SkipNameValidation: &again},
	})
	if err != nil {
		return nil, err
	}
	return mgr, cainjector.RegisterAllInjectors(ctx, mgr, cainjector.SetupOptions{
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor: map[string]bool{
			cainjector.MutatingWebhookConfigurationName:   true,
			cainjector.ValidatingWebhookConfigurationName: true,
		},
	})
}
