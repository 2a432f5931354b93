package cluster

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/keyutil"
)

// prepare writes the files that the components read, and decides their ports and arguments.
func (c *Cluster) prepare() (err error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	if c.authority, err = newAuthority(c.Dir); err != nil {
		return err
	}
	c.CAFile = c.authority.certFile()

	// The API servers differ in their address and share the port, as those of a cluster do: one EndpointSlice can
	// then list them all.
	var addresses []string
	for i := range c.options.APIServers {
		addresses = append(addresses, fmt.Sprintf("127.0.0.%d", i+1))
	}
	port, err := FreePort(addresses...)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		c.Servers = append(c.Servers, "https://"+hostPort(address, port))
	}
	hosts := append([]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}, addresses...)
	certPEM, keyPEM, err := c.authority.server(hosts...)
	if err != nil {
		return err
	}
	if err := writePair(c.Dir, "server", certPEM, keyPEM); err != nil {
		return err
	}
	if err := writeServiceAccountKey(c.file("service-accounts.key")); err != nil {
		return err
	}
	if err := os.WriteFile(c.file("kwok.yaml"), kwokConfig, 0o600); err != nil {
		return err
	}
	if err := c.writeAuditPolicy(); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}

	roots := x509.NewCertPool()
	roots.AddCert(c.authority.cert)
	c.components = []component{c.kine()}
	for i, address := range addresses {
		c.components = append(c.components, c.apiServer(i, address, port, roots))
	}
	for _, add := range []func(*x509.CertPool) (component, error){c.scheduler, c.controllerManager, c.kwok} {
		component, err := add(roots)
		if err != nil {
			return err
		}
		c.components = append(c.components, component)
	}
	return nil
}

func (c *Cluster) file(name string) string { return filepath.Join(c.Dir, name) }

// kine listens on a socket in its working folder; a relative path stays below the length limit of socket names.
func (c *Cluster) kine() component {
	return component{
		name: Kine,
		args: []string{Kine,
			"--endpoint=sqlite://state.db?_journal=WAL&_synchronous=OFF&_busy_timeout=30000&_txlock=immediate",
			"--listen-address=unix://kine.sock",
			"--metrics-bind-address=0",
		},
		healthy: listens("unix", c.file("kine.sock")),
	}
}

func (c *Cluster) apiServer(index int, address string, port int, roots *x509.CertPool) component {
	name := APIServer
	if index > 0 {
		name = fmt.Sprintf("%s-%d", APIServer, index+1)
	}
	return component{
		name: name,
		args: []string{APIServer,
			"--etcd-servers=unix://kine.sock",
			"--bind-address=" + address,
			"--secure-port=" + fmt.Sprint(port),
			// A loopback address is refused unless nobody publishes it; populate does that instead.
			"--advertise-address=" + address,
			"--endpoint-reconciler-type=none",
			"--tls-cert-file=" + c.file("server.crt"),
			"--tls-private-key-file=" + c.file("server.key"),
			"--client-ca-file=" + c.CAFile,
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + c.file("service-accounts.key"),
			"--service-account-signing-key-file=" + c.file("service-accounts.key"),
			"--service-cluster-ip-range=10.43.0.0/16",
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--allow-privileged=true",
			// No kube-proxy runs here: webhooks of a Service are reached through its EndpointSlices, see RouteService.
			"--enable-aggregator-routing=true",
			"--audit-policy-file=" + c.file(auditPolicy),
			"--audit-log-path=" + c.auditLog(index),
			"--max-requests-inflight=2000",
			"--max-mutating-requests-inflight=1000",
		},
		healthy: answersOK("https://"+hostPort(address, port)+"/readyz", roots),
	}
}

func (c *Cluster) scheduler(roots *x509.CertPool) (component, error) {
	kubeconfig, err := c.UserKubeconfig("system:kube-scheduler")
	if err != nil {
		return component{}, err
	}
	serving, health, err := c.serving()
	if err != nil {
		return component{}, err
	}
	args := append([]string{Scheduler, "--leader-elect=false"}, serving...)
	if c.options.SchedulerConfig == "" {
		args = append(args, "--kubeconfig="+kubeconfig, "--kube-api-qps=1000", "--kube-api-burst=2000")
	} else {
		text, err := os.ReadFile(c.options.SchedulerConfig)
		if err != nil {
			return component{}, fmt.Errorf("read the scheduler's configuration: %w", err)
		}
		certPEM, keyPEM, err := c.authority.client("system:kube-scheduler")
		if err != nil {
			return component{}, err
		}
		if err := writePair(c.Dir, "client-scheduler", certPEM, keyPEM); err != nil {
			return component{}, err
		}
		text, err = relocate(text, paths{
			kubeconfig: kubeconfig, caFile: c.CAFile,
			clientCert: c.file("client-scheduler.crt"), clientKey: c.file("client-scheduler.key"),
		}, c.options.ExtenderAddress)
		if err != nil {
			return component{}, fmt.Errorf("adapt %s: %w", c.options.SchedulerConfig, err)
		}
		if err := os.WriteFile(c.file("kube-scheduler.yaml"), text, 0o600); err != nil {
			return component{}, err
		}
		args = append(args, "--config="+c.file("kube-scheduler.yaml"))
	}
	return component{name: Scheduler, args: args, healthy: answersOK(health, roots)}, nil
}

func (c *Cluster) controllerManager(roots *x509.CertPool) (component, error) {
	kubeconfig, err := c.UserKubeconfig("system:kube-controller-manager")
	if err != nil {
		return component{}, err
	}
	serving, health, err := c.serving()
	if err != nil {
		return component{}, err
	}
	return component{
		name: ControllerManager,
		args: append([]string{ControllerManager,
			"--kubeconfig=" + kubeconfig,
			"--leader-elect=false",
			"--use-service-account-credentials=true",
			"--service-account-private-key-file=" + c.file("service-accounts.key"),
			"--root-ca-file=" + c.CAFile,
			"--cluster-signing-cert-file=" + c.CAFile,
			"--cluster-signing-key-file=" + c.authority.keyFile(),
			"--node-monitor-period=1s",
			"--node-monitor-grace-period=" + c.options.NodeGracePeriod.String(),
			"--kube-api-qps=200",
			"--kube-api-burst=400",
		}, serving...),
		healthy: answersOK(health, roots),
	}, nil
}

func (c *Cluster) kwok(*x509.CertPool) (component, error) {
	kubeconfig, err := c.UserKubeconfig(KWOK, "system:masters")
	if err != nil {
		return component{}, err
	}
	port, err := FreePort()
	if err != nil {
		return component{}, err
	}
	return component{
		name: KWOK,
		args: []string{KWOK,
			"--config=" + c.file("kwok.yaml"),
			"--kubeconfig=" + kubeconfig,
			"--manage-nodes-with-annotation-selector=" + NodeAnnotation + "=" + NodeAnnotationValue,
			// It renews a lease every quarter of this.
			"--node-lease-duration-seconds=" + fmt.Sprint(max(1, int(c.options.NodeGracePeriod.Seconds()))),
			"--server-address=" + hostPort("127.0.0.1", port),
		},
		healthy: answersOK("http://"+hostPort("127.0.0.1", port)+"/healthz", nil),
	}, nil
}

// serving gives a component that has an HTTPS server of its own the flags for it and the URL of its health.
func (c *Cluster) serving() (flags []string, health string, err error) {
	port, err := FreePort()
	if err != nil {
		return nil, "", err
	}
	return []string{
		"--bind-address=127.0.0.1",
		"--secure-port=" + fmt.Sprint(port),
		"--tls-cert-file=" + c.file("server.crt"),
		"--tls-private-key-file=" + c.file("server.key"),
		"--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
	}, "https://" + hostPort("127.0.0.1", port) + "/healthz", nil
}

func writeServiceAccountKey(path string) error {
	key, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		return fmt.Errorf("make the key for ServiceAccount tokens: %w", err)
	}
	return os.WriteFile(path, key, 0o600)
}
