package main

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/manifests"
)

// The defaults of the flags are what the manifests count on.
func TestDefaultsAreThoseOfTheManifests(t *testing.T) {
	flags := newRunCommand().Flags()
	value := func(name string) string { return flags.Lookup(name).DefValue }

	var scheduler schedulerv1.KubeSchedulerConfiguration
	decode(t, "k3s/scheduler.yaml", &scheduler)
	if got, want := scheduler.Extenders[0].URLPrefix, fmt.Sprintf("https://%s:%s/extender", extenderHost, value("extender-port")); got != want {
		t.Errorf("the scheduler asks %s, the extender is at %s", got, want)
	}
	var server appsv1.DaemonSet
	decode(t, "core/server.yaml", &server)
	container := server.Spec.Template.Spec.Containers[0]
	got := []string{
		fmt.Sprint(container.Ports[0].ContainerPort), container.VolumeMounts[0].MountPath,
		fmt.Sprintf("%s:%d", container.LivenessProbe.HTTPGet.Host, container.LivenessProbe.HTTPGet.Port.IntValue()),
	}
	want := []string{value("extender-port"), value("extender-cert-dir"), value("health-address")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ports and folders of the DaemonSet (-flags +manifest):\n%s", diff)
	}
}

func decode(t *testing.T, name string, into any) {
	t.Helper()
	text, err := manifests.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
