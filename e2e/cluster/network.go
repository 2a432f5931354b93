package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	discoveryapply "k8s.io/client-go/applyconfigurations/discovery/v1"
)

// Ports are taken from below the range of ports that Linux gives to outgoing connections (from 32768): no client can
// sit on the port of a component that is just being restarted.
const firstPort, ports = 20000, 12000

// reserved keeps the ports that this process has taken, until it ends.
var reserved struct {
	sync.Mutex
	ports []net.Listener
}

// reserve takes the port before anybody listens on it: tests of other packages look for ports at the same time. The
// name of the socket is in no file system, and free again when the process ends, however it does.
func reserve(port int) error {
	taken, err := net.Listen("unix", fmt.Sprintf("@tidegate-e2e-port-%d", port))
	if err != nil {
		return fmt.Errorf("reserve port %d: %w", port, err)
	}
	reserved.Lock()
	defer reserved.Unlock()
	reserved.ports = append(reserved.ports, taken)
	return nil
}

// FreePort returns a TCP port that nobody listens on at any of the addresses, and that nobody else is given; without
// addresses, at 127.0.0.1.
func FreePort(addresses ...string) (int, error) {
	if len(addresses) == 0 {
		addresses = []string{"127.0.0.1"}
	}
	var lastErr error
	for range 100 {
		port := firstPort + rand.IntN(ports)
		if lastErr = reserve(port); lastErr != nil {
			continue
		}
		if lastErr = free(port, addresses); lastErr == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: %w", lastErr)
}

func free(port int, addresses []string) error {
	for _, address := range addresses {
		listener, err := net.Listen("tcp", hostPort(address, port))
		if err != nil {
			return err
		}
		if err := listener.Close(); err != nil {
			return err
		}
	}
	return nil
}

// RouteService says where a Service without pods is served: at the port of the addresses, which default to
// 127.0.0.1. The API servers then find webhooks whose clientConfig names the Service. portName is the name of the
// Service's port; a port without a name has the empty one.
//
// Kubernetes refuses loopback addresses in EndpointSlices of the types IPv4 and IPv6, so this one's type is FQDN; a
// dotted address is a valid domain name, and resolves to itself.
func (c *Cluster) RouteService(ctx context.Context, namespace, service, portName string, port int, addresses ...string) error {
	if len(addresses) == 0 {
		addresses = []string{"127.0.0.1"}
	}
	slice := discoveryapply.EndpointSlice(service, namespace).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: service}).
		WithAddressType(discoveryv1.AddressTypeFQDN).
		WithPorts(discoveryapply.EndpointPort().WithName(portName).WithPort(int32(port)))
	for _, address := range addresses {
		slice.WithEndpoints(discoveryapply.Endpoint().
			WithAddresses(address).
			WithConditions(discoveryapply.EndpointConditions().WithReady(true)))
	}
	options := metav1.ApplyOptions{FieldManager: "tidegate-e2e", Force: true}
	if _, err := c.client.DiscoveryV1().EndpointSlices(namespace).Apply(ctx, slice, options); err != nil {
		return fmt.Errorf("write the EndpointSlice of the service %s/%s: %w", namespace, service, err)
	}
	return nil
}

// publishAPIServers lists the API servers as endpoints of the service kubernetes, which they do not do themselves on
// loopback addresses.
func (c *Cluster) publishAPIServers(ctx context.Context) error {
	var addresses []string
	var port int
	for _, server := range c.Servers {
		address, err := url.Parse(server)
		if err != nil {
			return err
		}
		addresses = append(addresses, address.Hostname())
		if port, err = strconv.Atoi(address.Port()); err != nil {
			return err
		}
	}
	return c.RouteService(ctx, metav1.NamespaceDefault, "kubernetes", "https", port, addresses...)
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
