package cluster

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const scheduling = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: /var/lib/rancher/k3s/server/cred/scheduler.kubeconfig
  qps: 200
extenders:
- urlPrefix: https://127.0.0.1:9443/extender
  filterVerb: filter
  httpTimeout: 1s
  tlsConfig:
    serverName: tidegate.tidegate.svc
    caFile: /etc/tidegate/ca.crt
    certFile: /var/lib/rancher/k3s/server/tls/client-scheduler.crt
    keyFile: /var/lib/rancher/k3s/server/tls/client-scheduler.key
- urlPrefix: https://127.0.0.1:9443/other
`

func TestRelocate(t *testing.T) {
	host := paths{kubeconfig: "/here/kubeconfig", caFile: "/here/ca.crt", clientCert: "/here/client.crt", clientKey: "/here/client.key"}
	tests := map[string]struct {
		address string
		changed []string // pairs of what the text has and what the result has in its place
		text    string
		wantErr string
	}{
		"everything that depends on the host": {
			text:    scheduling,
			address: "127.0.0.1:20001",
			changed: []string{
				"/var/lib/rancher/k3s/server/cred/scheduler.kubeconfig", "/here/kubeconfig",
				"127.0.0.1:9443", "127.0.0.1:20001",
				"/etc/tidegate/ca.crt", "/here/ca.crt",
				"/var/lib/rancher/k3s/server/tls/client-scheduler", "/here/client",
			},
		},
		"extenders stay without an address": {
			text:    scheduling,
			changed: []string{"/var/lib/rancher/k3s/server/cred/scheduler.kubeconfig", "/here/kubeconfig"},
		},
		"no clientConnection": {text: "kind: KubeSchedulerConfiguration", wantErr: "no clientConnection"},
		"a relative URL": {
			text:    strings.Replace(scheduling, "https://127.0.0.1:9443/other", "other", 1),
			address: "127.0.0.1:20001",
			wantErr: `extenders[1].urlPrefix "other" is no absolute URL`,
		},
		"no YAML": {text: "a: [", wantErr: "yaml"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := relocate([]byte(test.text), host, test.address)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer(test.changed...).Replace(test.text)
			if diff := cmp.Diff(parse(t, []byte(want)), parse(t, got)); diff != "" {
				t.Errorf("relocated configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func parse(t *testing.T, text []byte) (parsed any) {
	t.Helper()
	if err := yaml.Unmarshal(text, &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}
