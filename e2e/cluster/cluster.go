// Package cluster runs a real Kubernetes control plane on this machine, without containers: kine on SQLite,
// kube-apiserver, kube-scheduler and kube-controller-manager (the parts that k3s embeds), and KWOK in the place of
// kubelets. Everything listens on loopback only, on free ports, keeps its files in one folder, and ends with the
// program that started it, however that ends.
//
// A Node whose annotation kwok.x-k8s.io/node is "fake" is a machine that is switched on: it becomes Ready, renews its
// lease and runs the pods that are bound to it. Without the annotation the machine is dead: no heartbeat, no news of
// its pods, no deletion of them completes. A pod runs for ever, or for the time in its annotation [RunFor].
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Names of the components, as [Cluster.Restart] and its siblings take them and as the log files are called. Further
// API servers are called kube-apiserver-2 and so on.
const (
	Kine              = "kine"
	APIServer         = "kube-apiserver"
	Scheduler         = "kube-scheduler"
	ControllerManager = "kube-controller-manager"
	KWOK              = "kwok"
)

// startTimeout is how long one component may take until it is healthy; the slowest needs 2 s on an idle machine.
const startTimeout = 2 * time.Minute

// Options describe a cluster. The zero value is a good one.
type Options struct {
	// Dir keeps the cluster's files and stays after Stop. Empty: a temporary folder that Stop removes.
	Dir string
	// APIServers is how many API servers share the one datastore; 0 means 1.
	APIServers int
	// SchedulerConfig is the path of a KubeSchedulerConfiguration for kube-scheduler; empty: the scheduler's defaults.
	// The scheduler runs with a copy that differs in its paths only, see ExtenderAddress.
	SchedulerConfig string
	// ExtenderAddress replaces host and port in the URL of each extender of SchedulerConfig, whose caFile becomes
	// the cluster's (see [Cluster.ServingCert]), and whose client certificate, if it has one, the scheduler's own.
	// Empty: extenders stay as the file has them.
	ExtenderAddress string
	// AuditGroups are user groups whose requests are recorded, see [Cluster.Audit].
	AuditGroups []string
	// NodeGracePeriod is how long a node may be silent before it counts as NotReady; 0 means 20 s.
	NodeGracePeriod time.Duration
	// Out is told about builds and about components that end by themselves; nil means os.Stderr.
	Out io.Writer
}

// Cluster is a running control plane.
type Cluster struct {
	// Dir has everything: <component>.log, kubeconfigs, certificates, the datastore.
	Dir string
	// Servers are the URLs of the API servers.
	Servers []string
	// Kubeconfig is the path of the administrator's kubeconfig. It speaks to the first API server.
	Kubeconfig string
	// CAFile is the path of the certificate that signed those of the API servers and of [Cluster.ServingCert].
	CAFile string
	// KubectlPath is the path of kubectl.
	KubectlPath string

	options    Options
	binary     string
	authority  *authority
	client     kubernetes.Interface
	config     *rest.Config
	components []component

	mu      sync.Mutex
	running map[string]*process
}

// component is one program of the control plane: how it is called and how one sees that it works.
type component struct {
	name    string
	args    []string
	healthy func(context.Context) error
}

// Start builds the binary if need be and starts a cluster. It returns when all components are healthy. The context
// bounds the start; the cluster runs until Stop.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	if options.APIServers == 0 {
		options.APIServers = 1
	}
	if options.NodeGracePeriod == 0 {
		options.NodeGracePeriod = 20 * time.Second
	}
	if options.Out == nil {
		options.Out = os.Stderr
	}
	binary, err := Binary(ctx, options.Out)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		Dir:         options.Dir,
		KubectlPath: filepath.Join(filepath.Dir(binary), "kubectl"),
		options:     options,
		binary:      binary,
		running:     map[string]*process{},
	}
	if err := c.start(ctx); err != nil {
		c.killAll()
		return nil, fmt.Errorf("start a cluster in %s: %w", c.Dir, err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) (err error) {
	if c.Dir == "" {
		if c.Dir, err = os.MkdirTemp("", "tidegate-"); err != nil {
			return err
		}
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	// The first components are kine and the API servers; the others are their clients, and start side by side.
	servers, clients := c.components[:1+c.options.APIServers], c.components[1+c.options.APIServers:]
	for _, component := range servers {
		if err := c.StartComponent(ctx, component.name); err != nil {
			return err
		}
	}
	if err := errors.Join(c.publishAPIServers(ctx), c.silenceDeadMachines(ctx)); err != nil {
		return err
	}

	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, component := range clients {
		wg.Go(func() { errs[i] = c.StartComponent(ctx, component.name) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Stop ends every component at once and removes the cluster's folder, unless the caller chose it.
func (c *Cluster) Stop() {
	c.killAll()
	if c.options.Dir == "" {
		_ = os.RemoveAll(c.Dir)
	}
}

func (c *Cluster) killAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, p := range c.running {
		delete(c.running, name)
		p.kill()
	}
}

// StartComponent starts a component that is not running and waits until it is healthy.
func (c *Cluster) StartComponent(ctx context.Context, name string) error {
	component, err := c.component(name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.running[name] != nil {
		c.mu.Unlock()
		return fmt.Errorf("start %s: it is running; stop it first", name)
	}
	p, err := startProcess(c.binary, c.Dir, name, component.args)
	if err == nil {
		c.running[name] = p
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.awaitHealthy(ctx, component.healthy); err != nil {
		return err
	}
	go func() {
		<-p.done
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.running[name] == p {
			fmt.Fprintln(c.options.Out, p.failure())
		}
	}()
	return nil
}

// StopComponent kills a component, as a crash would, and waits until it is gone. (Asked to end, kube-apiserver would
// wait a minute for the watches of others.)
func (c *Cluster) StopComponent(name string) error {
	c.mu.Lock()
	p := c.running[name]
	delete(c.running, name)
	c.mu.Unlock()
	if p == nil {
		return fmt.Errorf("stop %s: it is not running", name)
	}
	p.kill()
	return nil
}

// Restart kills a component and starts it again, on the same port and with the same arguments.
func (c *Cluster) Restart(ctx context.Context, name string) error {
	if err := c.StopComponent(name); err != nil {
		return err
	}
	return c.StartComponent(ctx, name)
}

func (c *Cluster) component(name string) (component, error) {
	for _, component := range c.components {
		if component.name == name {
			return component, nil
		}
	}
	return component{}, fmt.Errorf("this cluster has no component %q", name)
}

// Config is the administrator's client configuration, without the client's own rate limit.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Kubectl runs kubectl as administrator and returns what it printed, warnings included.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.kubectl(ctx, nil, args)
}

// Apply applies the manifests, YAML documents, as administrator and returns what kubectl printed, warnings included.
func (c *Cluster) Apply(ctx context.Context, manifests string) (string, error) {
	return c.kubectl(ctx, strings.NewReader(manifests), []string{"apply", "--filename=-"})
}

func (c *Cluster) kubectl(ctx context.Context, stdin io.Reader, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, c.KubectlPath, args...)
	cmd.Stdin = stdin
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "KUBECACHEDIR="+c.file("kubectl-cache"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// ServingCert issues a certificate for a server at the hosts (DNS names or IP addresses), signed by the authority in
// CAFile. It returns the folder that has it as tls.crt and tls.key, as a mounted Secret would.
func (c *Cluster) ServingCert(name string, hosts ...string) (dir string, err error) {
	certPEM, keyPEM, err := c.authority.server(hosts...)
	if err != nil {
		return "", err
	}
	dir = c.file(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, writePair(dir, "tls", certPEM, keyPEM)
}
