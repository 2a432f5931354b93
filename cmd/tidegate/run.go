package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/manager"
	"github.com/tidegate-k3s/tidegate/internal/owncerts"
)

// runOptions are the flags of tidegate run.
type runOptions struct {
	kubeconfig                  string
	webhook, extender, capacity bool
	serving                     servingOptions
	metricsAddress              string
	metricsSecure               bool
	healthAddress               string
	settle                      time.Duration
	observeOnly                 bool
	limits                      capacity.Limits
	azure                       azure.Options
	armCAFile                   string
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the admission webhook, the scheduler extender and the capacity manager",
		Long: `Run the admission webhook, the scheduler extender and the capacity manager in
one process. Every replica serves the webhook and the extender; one at a time,
the leader, buys and retires machines.

On an Azure VM with a managed identity no flag is needed: subscription, resource
group and scale sets are discovered.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; empty means the pod's service account")
	f.BoolVar(&o.webhook, "webhook", true, "serve the admission webhook")
	f.BoolVar(&o.extender, "extender", true, "serve the scheduler extender")
	f.BoolVar(&o.capacity, "capacity", true, "take part in the election of the capacity manager")
	o.serving.addFlags(f)
	f.StringVar(&o.metricsAddress, "metrics-address", "127.0.0.1:9444", "address of /metrics; 0 switches it off")
	f.BoolVar(&o.metricsSecure, "metrics-secure", false, "serve /metrics with the extender's certificate, and only to those whom the cluster lets get it")
	f.StringVar(&o.healthAddress, "health-address", "127.0.0.1:9445", "address of /healthz and /readyz")
	f.DurationVar(&o.settle, "settle", manager.DefaultSettle, "how long a fence stands before the last look at its node; shorter than an API request may live is for demonstrations only")
	f.BoolVar(&o.observeOnly, "observe-only", false, "say what would be done, and do nothing; tidegate pause asks for the same while it runs")
	f.IntVar(&o.limits.Machines, "max-machines", 0, "most machines that all pools together may have; 0 is no bound")
	f.Float64Var(&o.limits.HourlyPrice, "max-hourly-price", 0, "most that all machines together may cost an hour, in the unit of the scale sets' prices; 0 is no bound")
	f.StringVar(&o.azure.ClientID, "identity-client-id", "", "client ID of a user-assigned identity; empty means the system-assigned one")
	f.StringVar(&o.azure.ResourceID, "identity-resource-id", "", "resource ID of a user-assigned identity, instead of its client ID")
	f.StringVar(&o.azure.IMDSEndpoint, "imds-endpoint", "", "URL of the instance metadata service, for an emulator")
	f.StringVar(&o.azure.ARMEndpoint, "arm-endpoint", "", "URL of Azure Resource Manager, for an emulator")
	f.StringVar(&o.armCAFile, "arm-ca", "", "file with the only CA to trust for --arm-endpoint")
	return cmd
}

// run serves until ctx ends.
func run(ctx context.Context, o runOptions) error {
	log := newLogger(os.Stderr)
	ctrl.SetLogger(log)
	if !o.webhook && !o.extender && !o.capacity {
		return errors.New("every role is switched off: leave at least one of --webhook, --extender and --capacity on")
	}
	if o.limits.Machines < 0 || o.limits.HourlyPrice < 0 {
		return fmt.Errorf("--max-machines=%d, --max-hourly-price=%g: want 0 for no bound, or more", o.limits.Machines, o.limits.HourlyPrice)
	}
	if o.metricsSecure && !o.extender {
		return errors.New("--metrics-secure takes the extender's certificate: leave --extender on")
	}
	config, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	extenderKeeper := &owncerts.Keeper{Namespace: api.ServerNamespace, Secret: api.ExtenderCASecret, Host: api.ExtenderHost}
	mgr, err := newControllerManager(config, o, metricsOptions(o, extenderKeeper))
	if err != nil {
		return err
	}
	if err := serve(ctx, mgr, o, extenderKeeper, log); err != nil {
		return err
	}
	if o.capacity {
		if err := addCapacity(mgr, config, o, metrics.Registry, log); err != nil {
			return err
		}
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("caches", cachesSynced(mgr.GetCache())); err != nil {
		return err
	}
	log.Info("tidegate starts", "webhook", o.webhook, "extender", o.extender, "capacity", o.capacity)
	err = mgr.Start(ctx)
	log.Info("tidegate stopped")
	return err
}

// restConfig reaches the API server, without a rate limit of the client's own:
// the API server's priority and fairness limits by what it can bear.
func restConfig(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w; give --kubeconfig, or run in a pod", err)
	}
	config.QPS = -1
	return config, nil
}

func newControllerManager(config *rest.Config, o runOptions, metrics metricsserver.Options) (ctrl.Manager, error) {
	graceful := 2 * time.Minute // a request to the cloud that is under way is finished
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        clientgoscheme.Scheme,
		LeaderElection:                o.capacity,
		LeaderElectionID:              api.LeaseName,
		LeaderElectionNamespace:       api.Namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &graceful,
		Metrics:                       metrics,
		HealthProbeBindAddress:        o.healthAddress,
		Cache: cache.Options{
			// Only the status that the leader publishes is of interest, and the
			// Roles allow no more.
			ByObject: map[client.Object]cache.ByObject{
				&corev1.ConfigMap{}: {
					Namespaces: map[string]cache.Config{api.Namespace: {}},
					Field:      fields.OneTermEqualSelector(metav1.ObjectNameField, api.StatusConfigMap),
				},
			},
			DefaultTransform: manager.Trim,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	return mgr, nil
}

// cachesSynced is ready once the caches hold the cluster.
func cachesSynced(c cache.Cache) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New("the caches have not synced yet: is the API server reachable?")
		}
		return nil
	}
}

// addCapacity adds the capacity manager and what readiness says of it.
func addCapacity(mgr ctrl.Manager, config *rest.Config, o runOptions, registry prometheus.Registerer, log logr.Logger) error {
	if o.armCAFile != "" {
		ca, err := os.ReadFile(o.armCAFile)
		if err != nil {
			return fmt.Errorf("read --arm-ca: %w", err)
		}
		o.azure.ARMCA = ca
	}
	o.azure.Log = log.WithName("azure")
	cloud, err := azure.New(o.azure)
	if err != nil {
		return err
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client for the cluster: %w", err)
	}
	m := manager.New(manager.Options{
		Cloud:       cloud,
		Cache:       mgr.GetCache(),
		Client:      mgr.GetClient(),
		Config:      config,
		Kubernetes:  typed,
		Events:      mgr.GetEventRecorder(api.ManagedBy),
		Metrics:     registry,
		Log:         log.WithName("capacity"),
		Settle:      o.settle,
		ObserveOnly: o.observeOnly, Limits: o.limits,
		Failpoint: failpoint,
	})
	if err := mgr.Add(m); err != nil {
		return fmt.Errorf("add the capacity manager: %w", err)
	}
	leads := func(check func() error) healthz.Checker {
		return func(*http.Request) error {
			select {
			case <-mgr.Elected():
				return check()
			default:
				return nil // another replica leads
			}
		}
	}
	return errors.Join(
		mgr.AddReadyzCheck("cloud", leads(func() error { return errors.Join(m.Ready(), cloud.Ready()) })),
		mgr.AddReadyzCheck("fence", leads(m.FencesReady)),
	)
}
