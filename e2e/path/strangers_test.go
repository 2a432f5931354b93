package path

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// Nobody but the scheduler is answered by the extender, whoever else the
// cluster knows.
func TestOnlyTheSchedulerIsAnswered(t *testing.T) {
	r := sharedRig(t)
	t.Parallel()
	tidegate(t)
	admin, err := r.Cluster.UserKubeconfig("somebody", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		t.Fatal(err)
	}
	somebody, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		certificates []tls.Certificate
		refusal      string // empty: answered
	}{
		"the scheduler":  {certificates: []tls.Certificate{schedulerCertificate(t, r)}},
		"an admin":       {certificates: []tls.Certificate{somebody}, refusal: "bad certificate"},
		"an unknown one": {refusal: "certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			client := httpsClient(t, r, rig.ExtenderName, test.certificates...)
			answer, err := client.Post("https://"+r.ExtenderAddress()+"/extender/filter", "application/json", strings.NewReader(`{"Pod":{},"NodeNames":["nobody"]}`))
			if test.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), test.refusal) {
					t.Errorf("got %v, want a refusal: %s", err, test.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(text), `"NodeNames":["nobody"]`) {
				t.Errorf("answer %s %q, %v, want the node back", answer.Status, text, err)
			}
		})
	}
}

// What only the server itself asks is not there for anybody else, and the
// webhook's port serves admission only.
func TestStrangersFindNothingToAsk(t *testing.T) {
	r := sharedRig(t)
	t.Parallel()
	p := tidegate(t)
	for name, address := range map[string]string{"extender": "https://" + r.ExtenderAddress(), "metrics": p.MetricsURL, "health": p.HealthURL} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		// Another address of this host, as its network's is on a server.
		conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.2", u.Port()), time.Second)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the port of %s at another address: %v, want the connection refused", name, err)
		}
	}
	client := httpsClient(t, r, r.WebhookName())
	for _, path := range []string{"/extender/filter", "/extender/prioritize", "/metrics", "/healthz", "/debug/pprof/", "/"} {
		answer, err := client.Post("https://"+r.WebhookAddress()+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusNotFound {
			t.Errorf("the webhook's port answers %s with %s, want 404", path, answer.Status)
		}
	}
}

// A pod's own account can neither read the plan, nor mark a node, nor open a
// gate, nor bind.
func TestStrangersMayNothing(t *testing.T) {
	w := newWorld(t, "strangers")
	t.Parallel()
	file, err := w.Cluster.ServiceAccountKubeconfig(t.Context(), w.namespace, "default")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	core, merge := stranger.CoreV1(), types.MergePatchType
	for name, try := range map[string]func() error{
		"read the plan": func() error {
			_, err := core.ConfigMaps(api.Namespace).Get(t.Context(), api.StatusConfigMap, metav1.GetOptions{})
			return err
		},
		"read the extender's key": func() error {
			_, err := core.Secrets(api.ServerNamespace).List(t.Context(), metav1.ListOptions{})
			return err
		},
		"mark a node": func() error {
			mark := fmt.Sprintf(`{"metadata":{"annotations":{%q:"{}"}}}`, api.RetiringAnnotation)
			_, err := core.Nodes().Patch(t.Context(), rig.ServerNode, merge, []byte(mark), metav1.PatchOptions{})
			return err
		},
		"fence a node": func() error {
			fence := fmt.Sprintf(`{"metadata":{"labels":{%q:"token"}}}`, api.RetiredLabel)
			_, err := core.Nodes().Patch(t.Context(), rig.ServerNode, merge, []byte(fence), metav1.PatchOptions{})
			return err
		},
		"open a gate": func() error {
			_, err := core.Pods(w.namespace).Patch(t.Context(), "any", merge, []byte(`{"spec":{"schedulingGates":null}}`), metav1.PatchOptions{})
			return err
		},
		"bind": func() error {
			return core.Pods(w.namespace).Bind(t.Context(), binding(w.namespace, "any", rig.ServerNode), metav1.CreateOptions{})
		},
		"start what runs on the servers": func() error {
			_, err := core.Pods(api.ServerNamespace).Create(t.Context(), &corev1.Pod{}, metav1.CreateOptions{})
			return err
		},
	} {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("a stranger tries to %s: %v, want it forbidden", name, err)
		}
	}
}

// httpsClient trusts the rig's servers under that name, and shows them the
// certificates.
func httpsClient(t *testing.T, r *rig.Rig, name string, certificates ...tls.Certificate) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(r.Cluster.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: name, Certificates: certificates},
			DisableKeepAlives: true,
		},
	}
}

func schedulerCertificate(t *testing.T, r *rig.Rig) tls.Certificate {
	t.Helper()
	certificate, err := r.SchedulerCertificate()
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
