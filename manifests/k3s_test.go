package manifests

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/extender"
)

// configuration is the part of kubescheduler.config.k8s.io/v1 that the file
// uses; strict decoding makes sure that it uses no more.
type configuration struct {
	APIVersion       string `json:"apiVersion"`
	Kind             string `json:"kind"`
	ClientConnection struct {
		Kubeconfig string `json:"kubeconfig"`
	} `json:"clientConnection"`
	Extenders []struct {
		URLPrefix      string `json:"urlPrefix"`
		FilterVerb     string `json:"filterVerb"`
		PrioritizeVerb string `json:"prioritizeVerb"`
		Weight         int64  `json:"weight"`
		EnableHTTPS    bool   `json:"enableHTTPS"`
		TLSConfig      struct {
			CAFile     string `json:"caFile"`
			ServerName string `json:"serverName"`
			CertFile   string `json:"certFile"`
			KeyFile    string `json:"keyFile"`
		} `json:"tlsConfig"`
		NodeCacheCapable bool   `json:"nodeCacheCapable"`
		Ignorable        bool   `json:"ignorable"`
		HTTPTimeout      string `json:"httpTimeout"`
	} `json:"extenders"`
}

func schedulerConfiguration(t *testing.T) configuration {
	t.Helper()
	var c configuration
	decodeFile(t, "k3s/scheduler.yaml", &c)
	if len(c.Extenders) != 1 {
		t.Fatalf("the scheduler has %d extenders, want one", len(c.Extenders))
	}
	return c
}

func TestSchedulerCallsTheExtender(t *testing.T) {
	c := schedulerConfiguration(t)
	if got, want := c.APIVersion+" "+c.Kind, "kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration"; got != want {
		t.Errorf("the file is a %s, want %s", got, want)
	}
	if got, want := c.ClientConnection.Kubeconfig, "/var/lib/rancher/k3s/server/cred/scheduler.kubeconfig"; got != want {
		t.Errorf("kubeconfig %s, want k3s's %s", got, want)
	}
	e := c.Extenders[0]
	// The scheduler's own rule: prefix, slash, verb.
	got := []string{e.URLPrefix + "/" + e.FilterVerb, e.URLPrefix + "/" + e.PrioritizeVerb}
	const server = "https://127.0.0.1:9446"
	if diff := cmp.Diff([]string{server + extender.FilterPath, server + extender.PrioritizePath}, got); diff != "" {
		t.Errorf("URLs (-want +got):\n%s", diff)
	}
	if !e.EnableHTTPS || e.TLSConfig.CAFile == "" || !e.NodeCacheCapable || !e.Ignorable || e.HTTPTimeout != "1s" {
		t.Errorf("extender %+v: want HTTPS verified by a CA, nodeCacheCapable, ignorable, a time-out of 1s", e)
	}
}

// The argument names the file by the place that the file's own comment gives.
func TestK3sReadsTheSchedulerConfiguration(t *testing.T) {
	var config struct {
		Args []string `json:"kube-scheduler-arg+"`
	}
	decodeFile(t, "k3s/config.yaml.d/tidegate.yaml", &config)
	const place = "/etc/rancher/k3s/tidegate/scheduler.yaml"
	if diff := cmp.Diff([]string{"config=" + place}, config.Args); diff != "" {
		t.Errorf("kube-scheduler-arg+ (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(read(t, "k3s/scheduler.yaml"), "# "+place+" ") {
		t.Errorf("k3s/scheduler.yaml does not say that it belongs to %s", place)
	}
}
