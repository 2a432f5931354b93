package rig

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/manifests"
)

// serviceName is the Service of the webhook, as the manifests have it.
const serviceName = "tidegate"

// install applies the manifests, but for what cert-manager and a container
// runtime would do: certificates come from the cluster's own authority, and
// Tidegate runs as a process.
func (r *Rig) install(ctx context.Context) (err error) {
	if r.certDir, err = r.Cluster.ServingCert(serviceName, r.ServingName()); err != nil {
		return err
	}
	for _, file := range []string{"namespace.yaml", "rbac.yaml", "fence.yaml", "tidegate.yaml", "webhooks.yaml"} {
		text, err := manifests.FS.ReadFile(file)
		if err != nil {
			return err
		}
		if text, err = r.prepare(text); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if out, err := r.Cluster.Apply(ctx, string(text)); err != nil {
			return fmt.Errorf("apply %s: %w\n%s", file, err, out)
		}
	}
	if err := r.Cluster.RouteService(ctx, api.Namespace, serviceName, "webhook", r.port, "127.0.0.1"); err != nil {
		return err
	}
	r.kubeconfig, err = r.Cluster.ServiceAccountKubeconfig(ctx, api.Namespace, serviceName)
	return err
}

// prepare puts the cluster's authority into the webhook configurations, which
// on a real cluster cert-manager does, and leaves out what needs containers.
func (r *Rig) prepare(text []byte) ([]byte, error) {
	ca, err := os.ReadFile(r.Cluster.CAFile)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		object := map[string]any{}
		if err := decoder.Decode(&object); err != nil {
			break // the end; a broken document fails at apply
		}
		if object["kind"] == "DaemonSet" {
			continue
		}
		hooks, _, _ := unstructured.NestedSlice(object, "webhooks")
		for _, hook := range hooks {
			if err := unstructured.SetNestedField(hook.(map[string]any), base64.StdEncoding.EncodeToString(ca), "clientConfig", "caBundle"); err != nil {
				return nil, err
			}
		}
		if hooks != nil {
			object["webhooks"] = hooks
		}
		document, err := yaml.Marshal(object)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "---\n%s", document)
	}
	return out.Bytes(), nil
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
