package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// oldest is the first Kubernetes whose validating admission policies are
// generally available, on which the fence is built. Source: Kubernetes
// documentation, "Validating Admission Policy", feature state.
const oldest = "v1.30.0"

// AskServer asks the API server for its version and its clock.
func AskServer(ctx context.Context, config *rest.Config) (Server, error) {
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return Server{}, fmt.Errorf("client for the cluster: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return Server{}, fmt.Errorf("the API server's address: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("version").String(), nil)
	if err != nil {
		return Server{}, err
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return Server{}, fmt.Errorf("ask the API server for its version: %w; is it reachable from here?", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return Server{}, fmt.Errorf("ask the API server for its version: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return Server{}, fmt.Errorf("ask the API server for its version: it answers %s; is the kubeconfig still good?", response.Status)
	}
	var info struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return Server{}, fmt.Errorf("read the API server's version: %w", err)
	}
	serverTime, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return Server{}, fmt.Errorf("read the API server's clock: %w", err)
	}
	return Server{Version: info.GitVersion, Time: serverTime}, nil
}

func kubernetesVersion(running string) Finding {
	v, err := version.ParseSemantic(running)
	switch {
	case err != nil:
		return Finding{Verdict: Unknown, Detail: fmt.Sprintf("version %q cannot be read: %v", running, err), Fix: "see that it is " + oldest + " or later"}
	case v.LessThan(version.MustParseSemantic(oldest)):
		return failed("upgrade the servers to "+oldest+" or later", "%s has no validating admission policies, on which the fence is built", running)
	}
	return ok("%s", running)
}

const (
	// skewAllowed is how far clocks may be apart. The API server's Date has
	// whole seconds.
	skewAllowed = 5 * time.Second
	// kubeletSilence is more than the time between two renewals of a ready
	// node's lease. Source: kubelet renews every 10 s, and after 40 s without
	// it the node is no longer ready.
	kubeletSilence = 45 * time.Second
)

// clocks compares the API server's clock with the caller's and, by the leases
// that they renew, with those of the nodes and of the leader.
func clocks(ctx context.Context, p Patient) Finding {
	const fix = "have chrony or systemd-timesyncd keep the time there"
	if skew := p.Cluster.Now.Sub(p.Server.Time); skew.Abs() > skewAllowed+time.Second {
		return warning("set the clock of this machine", "the clock here is %s off the API server's", skew.Round(time.Second))
	}
	var leases coordinationv1.LeaseList
	if err := p.Client.List(ctx, &leases, client.InNamespace(corev1.NamespaceNodeLease)); err != nil {
		return unread("the nodes' leases", err)
	}
	ready := map[string]bool{}
	for i := range p.Cluster.Nodes {
		for _, c := range p.Cluster.Nodes[i].Status.Conditions {
			ready[p.Cluster.Nodes[i].Name] = ready[p.Cluster.Nodes[i].Name] || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}
	}
	var wrong []string
	for _, l := range leases.Items {
		if l.Spec.RenewTime == nil || !ready[l.Name] {
			continue
		}
		ahead := l.Spec.RenewTime.Sub(p.Server.Time)
		if ahead > skewAllowed || ahead < -kubeletSilence-skewAllowed {
			wrong = append(wrong, l.Name)
		}
	}
	slices.Sort(wrong)
	if len(wrong) > 0 {
		return failed(fix, "the clocks of these nodes are off the API server's: %s", strings.Join(wrong, ", "))
	}
	return ok("those of %d nodes agree with the API server's", len(leases.Items))
}
