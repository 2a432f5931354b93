package rig

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/manifests"
)

// Names in the manifests.
const (
	webhookService = api.WebhookService
	webhookPort    = "webhook"
	// ServerAccount, WebhookAccount and AgentAccount are the namespaces and names
	// of the ServiceAccounts of Tidegate's workloads.
	ServerAccount  = api.ServerNamespace + "/tidegate"
	WebhookAccount = api.Namespace + "/tidegate-webhook"
	AgentAccount   = api.ServerNamespace + "/" + api.AgentAccount
)

// Install applies the manifests, again for an upgrade, but for what a container
// runtime would do: Tidegate runs as processes. Without Options.Certificates the
// cluster's own authority does cert-manager's part.
func (r *Rig) Install(ctx context.Context) error {
	if from := r.options.Certificates; from != nil {
		if err := from.Install(ctx, r.Cluster); err != nil {
			return err
		}
	}
	rendered, err := r.Cluster.Kubectl(ctx, "kustomize", filepath.Join(r.root, "manifests", r.options.Overlay))
	if err != nil {
		return err
	}
	prepared, err := r.prepare(rendered)
	if err != nil {
		return fmt.Errorf("the manifests: %w", err)
	}
	if _, err := r.Cluster.Apply(ctx, prepared); err != nil {
		return err
	}
	if err := r.certificates(ctx); err != nil {
		return err
	}
	return r.Cluster.RouteService(ctx, api.Namespace, webhookService, webhookPort, r.webhookPort, "127.0.0.1")
}

// Change takes another checkout: Tidegate is built from it, and its manifests are
// applied. What runs already runs on. An empty root is this checkout.
func (r *Rig) Change(ctx context.Context, root string) (err error) {
	if root == "" {
		if root, err = moduleDir(ctx); err != nil {
			return err
		}
	}
	binary, err := build(ctx, root, r.dir, r.options.Failpoints, r.options.Out)
	if err != nil {
		return err
	}
	r.root, r.binary = root, binary
	return r.Install(ctx)
}

// kubeconfig is that of a ServiceAccount of the manifests.
func (r *Rig) kubeconfig(account string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if file, ok := r.kubeconfigs[account]; ok {
		return file, nil
	}
	namespace, name, _ := strings.Cut(account, "/")
	file, err := r.Cluster.ServiceAccountKubeconfig(context.Background(), namespace, name)
	if err == nil {
		r.kubeconfigs[account] = file
	}
	return file, err
}

// prepare puts the cluster's authority into the webhook configurations, which
// on a real cluster cert-manager does, and leaves out what needs that or
// containers.
func (r *Rig) prepare(rendered string) (string, error) {
	ca, err := os.ReadFile(r.Cluster.CAFile)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(rendered), 4096)
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return out.String(), nil
		} else if err != nil {
			return "", err
		}
		if slices.Contains([]string{"DaemonSet", "Deployment"}, object.GetKind()) {
			continue
		}
		provided := r.options.Certificates != nil || r.options.OwnCertificates
		if object.GroupVersionKind().Group == "cert-manager.io" && !provided {
			continue
		}
		hooks, _, _ := unstructured.NestedSlice(object.Object, "webhooks")
		if provided {
			hooks = nil
		}
		for _, hook := range hooks {
			if err := unstructured.SetNestedField(hook.(map[string]any), base64.StdEncoding.EncodeToString(ca), "clientConfig", "caBundle"); err != nil {
				return "", err
			}
		}
		if hooks != nil {
			object.Object["webhooks"] = hooks
		}
		document, err := yaml.Marshal(object.Object)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "---\n%s", document)
	}
}

// manifest writes one of the manifests to a file and returns its path.
func (r *Rig) manifest(name string) (string, error) {
	text, err := manifests.FS.ReadFile(name)
	if err != nil {
		return "", err
	}
	file := filepath.Join(r.dir, path.Base(name))
	return file, os.WriteFile(file, text, 0o600)
}

// moduleDir is the folder of Tidegate's own module, of which this one is a part.
func moduleDir(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tidegate-k3s/tidegate").Output()
	if err != nil {
		return "", fmt.Errorf("find Tidegate's module: %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}
