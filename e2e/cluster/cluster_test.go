package cluster_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

func TestAPIServerRestartLosesNothing(t *testing.T) {
	machine := startMachine(t)
	before := runPod(t, machine.Name, map[string]string{cluster.RunFor: "4s"})
	if err := shared.Restart(t.Context(), cluster.APIServer); err != nil {
		t.Fatal(err)
	}
	awaitPhase(t, before, corev1.PodSucceeded)
	runPod(t, machine.Name, nil)
}

func TestEachListedAPIServerServesTheSameCluster(t *testing.T) {
	slices, err := client(t).DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
	if err != nil {
		t.Fatal(err)
	}
	want := uid(t, shared.Servers[0])
	var servers []string
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			server := "https://" + net.JoinHostPort(endpoint.Addresses[0], strconv.Itoa(int(*slice.Ports[0].Port)))
			servers = append(servers, server)
			if got := uid(t, server); got != want {
				t.Errorf("%s serves the cluster %s, want %s", server, got, want)
			}
		}
	}
	if diff := cmp.Diff(shared.Servers, servers); diff != "" || len(servers) != 2 {
		t.Errorf("listed API servers (-running +listed):\n%s", diff)
	}
}

// uid is that of the namespace kube-system, which names a cluster.
func uid(t *testing.T, server string) types.UID {
	t.Helper()
	config := shared.Config()
	config.Host = server
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	namespace, err := c.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return namespace.UID
}

func TestKubeconfigsHaveTheirHoldersRights(t *testing.T) {
	_, err := shared.Apply(t.Context(), `
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}, {kind: Group, name: readers, apiGroup: rbac.authorization.k8s.io}]
`)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func() (string, error){
		"ServiceAccount": func() (string, error) {
			return shared.ServiceAccountKubeconfig(t.Context(), "default", "reader")
		},
		"user in a group": func() (string, error) { return shared.UserKubeconfig("someone", "readers") },
	}
	for name, mint := range tests {
		t.Run(name, func(t *testing.T) {
			path, err := mint()
			if err != nil {
				t.Fatal(err)
			}
			config, err := clientcmd.BuildConfigFromFlags("", path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
				t.Errorf("the right that it was given is missing: %v", err)
			}
			if _, err := c.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
				t.Errorf("listing secrets: %v, want forbidden", err)
			}
		})
	}
}

func TestRoutedServiceReachesWebhook(t *testing.T) {
	dir, err := shared.ServingCert("hook", "hook.default.svc")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Warnings: []string{"seen by the hook"}}
		_ = json.NewEncoder(w).Encode(review)
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()

	ca, err := os.ReadFile(shared.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := json.Marshal(ca)
	if err != nil {
		t.Fatal(err)
	}
	_, err = shared.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: hook, namespace: default}
spec: {ports: [{port: 443, name: webhook}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hook}
webhooks:
- name: hook.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  clientConfig: {caBundle: %s, service: {name: hook, namespace: default, path: /}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  matchConditions: [{name: ours, expression: object.metadata.name.startsWith("hooked-")}]
`, bundle))
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := shared.RouteService(t.Context(), "default", "hook", "webhook", port); err != nil {
		t.Fatal(err)
	}
	eventually(t, "kubectl prints the webhook's warning", func() error {
		name := "hooked-" + rand.String(5)
		out, err := shared.Kubectl(t.Context(), "create", "configmap", name)
		if err != nil {
			return err
		}
		if diff := cmp.Diff("Warning: seen by the hook\nconfigmap/"+name+" created\n", out); diff != "" {
			return fmt.Errorf("kubectl printed (-want +got):\n%s", diff)
		}
		return nil
	})
}
