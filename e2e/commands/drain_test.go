package commands

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/e2e/rig"
	"github.com/tidegate-k3s/tidegate/manifests"
)

// The cluster's only server can be drained although a replica of the webhook has
// to serve at any time.
func TestTheOnlyServerIsDrained(t *testing.T) {
	u := newUser(t)
	// Apart from the Service, whose webhook runs as a process.
	const namespace = "drained"
	if _, err := u.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = u.Cluster.Kubectl(context.Background(), "uncordon", rig.ServerNode)
		_ = u.Client.CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{})
	})
	out, err := u.Cluster.Apply(t.Context(), webhookWorkload(t, namespace))
	if err != nil {
		t.Fatal(err, out)
	}
	u.eventually("both replicas are protected", func() error {
		budget, err := u.Client.PolicyV1().PodDisruptionBudgets(namespace).Get(t.Context(), "tidegate-webhook", metav1.GetOptions{})
		if err != nil || budget.Status.CurrentHealthy != 2 {
			return fmt.Errorf("the budget is %+v: %v", budget.Status, err)
		}
		return nil
	})
	if out, err := u.Cluster.Kubectl(t.Context(), "drain", rig.ServerNode, "--ignore-daemonsets", "--timeout=60s"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// webhookWorkload is the webhook's Deployment with its budget, in that namespace.
func webhookWorkload(t *testing.T, namespace string) string {
	t.Helper()
	text, err := manifests.FS.ReadFile("webhook/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		var o unstructured.Unstructured
		if err := yaml.Unmarshal(document, &o.Object); err != nil {
			t.Fatal(err)
		}
		switch o.GetKind() {
		case "Deployment":
			if err := unstructured.SetNestedField(o.Object, "default", "spec", "template", "spec", "serviceAccountName"); err != nil {
				t.Fatal(err)
			}
		case "PodDisruptionBudget":
		default:
			continue
		}
		o.SetNamespace(namespace)
		document, err = yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "---\n%s", document)
	}
}
