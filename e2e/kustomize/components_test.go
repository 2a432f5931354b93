// Package kustomize tests that kustomize builds what users build from the
// manifests.
package kustomize

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/manifests"
)

// build builds what a user gets who adds these components to the base.
func build(t *testing.T, components ...string) resmap.ResMap {
	t.Helper()
	kustomization := "resources: [../tidegate/manifests]\ncomponents:\n"
	for _, c := range components {
		kustomization += "  - ../tidegate/manifests/components/" + c + "\n"
	}
	return buildWith(t, kustomization)
}

// buildWith builds a user's kustomization, in a folder beside a checkout.
func buildWith(t *testing.T, kustomization string) resmap.ResMap {
	t.Helper()
	disk := filesys.MakeFsInMemory()
	err := fs.WalkDir(manifests.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := manifests.FS.ReadFile(name)
		if err != nil {
			return err
		}
		return disk.WriteFile(path.Join("/tidegate/manifests", name), text)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteFile("/mine/kustomization.yaml", []byte(kustomization)); err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "/mine")
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// one decodes the only object of that kind and name.
func one(t *testing.T, built resmap.ResMap, kind, name string, into any) {
	t.Helper()
	found := 0
	for _, r := range built.Resources() {
		if r.GetKind() != kind || r.GetName() != name {
			continue
		}
		found++
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	if found != 1 {
		t.Fatalf("%d objects are the %s %s, want one", found, kind, name)
	}
}

// The monitor selects the service, the service the pods, and the pods listen
// where both say.
func TestPrometheusFindsTheMetrics(t *testing.T) {
	built := build(t, "prometheus")
	var daemonSet appsv1.DaemonSet
	var service corev1.Service
	var monitor struct {
		Metadata struct{ Namespace string }
		Spec     struct {
			Selector  struct{ MatchLabels map[string]string }
			Endpoints []struct {
				Port, Scheme, BearerTokenFile string
				TLSConfig                     struct {
					ServerName string
					CA         struct{ Secret corev1.SecretKeySelector }
				}
			}
		}
	}
	one(t, built, "DaemonSet", "tidegate", &daemonSet)
	one(t, built, "Service", "tidegate-metrics", &service)
	one(t, built, "ServiceMonitor", "tidegate", &monitor)
	one(t, built, "PrometheusRule", "tidegate", &struct{}{})
	if e := monitor.Spec.Endpoints[0]; e.Scheme != "https" || e.BearerTokenFile == "" || e.TLSConfig.ServerName != api.ExtenderHost ||
		e.TLSConfig.CA.Secret.Name != api.ExtenderCASecret || e.TLSConfig.CA.Secret.Key != corev1.TLSCertKey || monitor.Metadata.Namespace != api.ServerNamespace {
		t.Errorf("the monitor asks %+v, want the extender's certificate verified, and a token shown", e)
	}

	if !labels.SelectorFromSet(monitor.Spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) || monitor.Metadata.Namespace != service.Namespace {
		t.Errorf("the monitor of %s selects %v, the service of %s has %v", monitor.Metadata.Namespace, monitor.Spec.Selector.MatchLabels, service.Namespace, service.Labels)
	}
	pods := daemonSet.Spec.Template
	if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pods.Labels)) || service.Namespace != daemonSet.Namespace {
		t.Errorf("the service of %s selects %v, the pods of %s have %v", service.Namespace, service.Spec.Selector, daemonSet.Namespace, pods.Labels)
	}
	container := pods.Spec.Containers[0]
	if container.Args[0] != "run" || !slices.Contains(container.Args, "--metrics-address=:9444") || !slices.Contains(container.Args, "--metrics-secure") {
		t.Errorf("the arguments are %q, want run with its metrics open", container.Args)
	}
	port := service.Spec.Ports[0]
	if monitor.Spec.Endpoints[0].Port != port.Name || !slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool {
		return p.Name == port.TargetPort.StrVal && p.ContainerPort == 9444
	}) {
		t.Errorf("the monitor asks %+v, the service has %+v, the container %+v", monitor.Spec.Endpoints, port, container.Ports)
	}
}

func TestGrafanaFindsTheDashboard(t *testing.T) {
	var configMap corev1.ConfigMap
	one(t, build(t, "grafana"), "ConfigMap", "tidegate-dashboard", &configMap)
	if configMap.Labels["grafana_dashboard"] != "1" || !strings.Contains(configMap.Data["dashboard.json"], `"title": "Tidegate"`) {
		t.Errorf("labels %v, keys %d: want the label of Grafana's sidecar and the dashboard", configMap.Labels, len(configMap.Data))
	}
}

// The file that the extender is told to read is the one that is mounted, and
// nothing that was there before is lost.
func TestSchedulerCertificate(t *testing.T) {
	built := build(t, "scheduler-certificate")
	var daemonSet appsv1.DaemonSet
	one(t, built, "DaemonSet", "tidegate", &daemonSet)
	pod := daemonSet.Spec.Template.Spec
	container := pod.Containers[0]
	mounts := map[string]string{}
	for _, m := range container.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	if len(mounts) != 2 || len(pod.Volumes) != 2 || mounts["tls"] == "" {
		t.Fatalf("volumes %+v, mounts %v, want those of the certificate and of the authority", pod.Volumes, mounts)
	}
	if want := "--extender-client-ca=" + mounts["client-ca"]; !slices.Contains(container.Args, want) {
		t.Errorf("arguments %q, want %s", container.Args, want)
	}
}

// Pods that opt in are let in while the webhook is away, and nothing else of the
// configuration changes.
func TestFailOpen(t *testing.T) {
	policies := func(components ...string) (configuration admissionv1.MutatingWebhookConfiguration, policies map[string]admissionv1.FailurePolicyType) {
		one(t, build(t, components...), "MutatingWebhookConfiguration", "tidegate", &configuration)
		policies = map[string]admissionv1.FailurePolicyType{}
		for i := range configuration.Webhooks {
			w := &configuration.Webhooks[i]
			policies[w.Name] = *w.FailurePolicy
			w.FailurePolicy = nil
		}
		return configuration, policies
	}
	base, _ := policies()
	open, got := policies("fail-open")
	want := map[string]admissionv1.FailurePolicyType{
		"gate.tidegate.io": admissionv1.Ignore, "namespace-gate.tidegate.io": admissionv1.Ignore, "unclear-gate.tidegate.io": admissionv1.Ignore,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failure policies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(base, open); diff != "" {
		t.Errorf("the rest of the configuration (-base +fail-open):\n%s", diff)
	}
}
