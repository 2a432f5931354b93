package manager

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/tidegate-k3s/tidegate/api"
)

// prover asks every API server of the cluster whether it enforces a fence.
type prover struct {
	config *rest.Config
	client kubernetes.Interface

	mu      sync.Mutex
	servers map[string]kubernetes.Interface // by host:port
}

func newProver(config *rest.Config, client kubernetes.Interface) *prover {
	return &prover{config: config, client: client, servers: map[string]kubernetes.Interface{}}
}

// proofTimeout bounds one attempt: a server that hangs must not keep the node
// from being taken back by those who need it.
const proofTimeout = 5 * time.Second

// prove reports whether every API server refuses a binding to the node because
// of this very fence. False without an error means not yet: a server still
// accepts. Any other answer is an error, which is a doubt.
func (p *prover) prove(ctx context.Context, node, uid, token string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	servers, err := p.apiServers(ctx)
	if err != nil {
		return false, err
	}
	// In one order, so that of several servers that answer differently it is
	// always the same one that decides what is said.
	for _, host := range slices.Sorted(maps.Keys(servers)) {
		proved, err := proveOn(ctx, servers[host], node, uid, token)
		if err != nil {
			return false, fmt.Errorf("API server %s: %w", host, err)
		}
		if !proved {
			return false, nil
		}
	}
	return true, nil
}

// proveOn sends one API server the dry-run binding of a pod that does not
// exist. An open node answers that there is no such pod; a fenced one refuses,
// in the fence policy's name, with the node's UID and the fence's token.
func proveOn(ctx context.Context, server kubernetes.Interface, node, uid, token string) (bool, error) {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: "fence-proof-" + strings.ToLower(rand.Text())},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	err := server.CoreV1().Pods(api.Namespace).Bind(ctx, binding, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	var status *apierrors.StatusError
	switch {
	case err == nil:
		return false, errors.New("accepted the binding of a pod that does not exist")
	case apierrors.IsNotFound(err):
		return false, nil
	case errors.As(err, &status) && status.ErrStatus.Code == http.StatusUnprocessableEntity &&
		strings.Contains(status.ErrStatus.Message, api.FenceRefusal(uid, token)):
		return true, nil
	}
	return false, fmt.Errorf("neither refused nor accepted the binding that proves the fence: %w", err)
}

// apiServers returns a client for each API server that the cluster's own
// service lists. None listed is an error: then nobody knows who else binds.
func (p *prover) apiServers(ctx context.Context) (map[string]kubernetes.Interface, error) {
	endpoints, err := p.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{
		LabelSelector: "kubernetes.io/service-name=kubernetes",
	})
	if err != nil {
		return nil, fmt.Errorf("list the API servers: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := map[string]kubernetes.Interface{}
	for _, slice := range endpoints.Items {
		for _, port := range slice.Ports {
			for _, endpoint := range slice.Endpoints {
				for _, address := range endpoint.Addresses {
					if port.Port == nil {
						continue
					}
					host := net.JoinHostPort(address, strconv.Itoa(int(*port.Port)))
					server := p.servers[host]
					if server == nil {
						if server, err = p.dial(host); err != nil {
							return nil, err
						}
					}
					listed[host] = server
				}
			}
		}
	}
	if len(listed) == 0 {
		return nil, errors.New("no API server is listed in the endpoints of service default/kubernetes, so no fence can be proved")
	}
	p.servers = listed
	return listed, nil
}

// dial returns a client for one API server. Its certificate must be good for
// the name by which the cluster is reached anyway.
func (p *prover) dial(host string) (kubernetes.Interface, error) {
	config := rest.CopyConfig(p.config)
	if config.ServerName == "" {
		name := config.Host
		if u, err := url.Parse(config.Host); err == nil && u.Host != "" {
			name = u.Hostname()
		}
		config.ServerName = name
	}
	config.Host = "https://" + host
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for API server %s: %w", host, err)
	}
	return client, nil
}
