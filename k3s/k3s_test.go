package k3s

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// certificate returns a PEM certificate that is good for the hours around now.
func certificate(t *testing.T, isCA bool, from, to time.Duration) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test-ca"},
		NotBefore: now.Add(from), NotAfter: now.Add(to),
		IsCA: isCA, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// freshServer has what k3s writes at its first start.
func freshServer() fstest.MapFS {
	return fstest.MapFS{
		"var/lib/rancher/k3s/server/cred/scheduler.kubeconfig":  {},
		"var/lib/rancher/k3s/server/tls/client-scheduler.crt":   {},
		"var/lib/rancher/k3s/server/tls/client-scheduler.key":   {},
		"etc/rancher/k3s/config.yaml.d/readme.txt":              {Data: []byte("not read by k3s: [")},
		"etc/rancher/k3s/config.yaml.d/disabled.yaml.old":       {Data: []byte("nor this: [")},
		"etc/rancher/k3s/config.yaml.d/folder.yaml/nested.yaml": {Data: []byte("nor this: [")},
	}
}

func TestCheck(t *testing.T) {
	ca := certificate(t, true, -time.Hour, time.Hour)
	edit := func(old, new string) func(fstest.MapFS) {
		return func(server fstest.MapFS) {
			text := string(server[SchedulerConfig].Data)
			if !strings.Contains(text, old) {
				t.Fatalf("%s has no %q", SchedulerConfig, old)
			}
			server[SchedulerConfig].Data = []byte(strings.Replace(text, old, new, 1))
		}
	}
	put := func(name, text string) func(fstest.MapFS) {
		return func(server fstest.MapFS) { server[name] = &fstest.MapFile{Data: []byte(text)} }
	}
	drop := func(name string) func(fstest.MapFS) {
		return func(server fstest.MapFS) { delete(server, name) }
	}
	const another = "etc/rancher/k3s/config.yaml.d/zz.yaml"
	for name, tc := range map[string]struct {
		change func(fstest.MapFS)
		want   string // part of the only finding; empty for none
	}{
		"as installed":          {change: func(fstest.MapFS) {}},
		"other settings":        {change: put(mainConfig, "tls-san: [a.example]\nkube-scheduler-arg: v=2\n")},
		"more arguments, added": {change: put(another, "kube-scheduler-arg+: [v=2]\n")},

		"no snippet":                  {drop(Snippet), "/etc/rancher/k3s/config.yaml.d/tidegate.yaml: k3s is not told of a scheduler configuration: run tidegate k3s install"},
		"overwritten by a later file": {put(another, "kube-scheduler-arg: [v=2]\n"), `the scheduler gets ["v=2"] and no configuration`},
		"a second configuration":      {put(another, "kube-scheduler-arg+: config=/etc/other.yaml\n"), "is given /etc/rancher/k3s/tidegate/scheduler.yaml, /etc/other.yaml"},
		"another file is broken":      {put(another, "kube-scheduler-arg+: [v=2\n"), "/etc/rancher/k3s/config.yaml.d/zz.yaml: "},
		"main file is broken":         {put(mainConfig, "a: 1\na: 2\n"), `key "a" already set`},
		"a relative path":             {put(Snippet, "kube-scheduler-arg+: [config=scheduler.yaml]\n"), "no plain absolute path"},

		"no configuration":           {drop(SchedulerConfig), "/etc/rancher/k3s/tidegate/scheduler.yaml: there is no such file: run tidegate k3s install"},
		"no YAML":                    {put(SchedulerConfig, "["), "nor can k3s"},
		"an unknown field":           {edit("filterVerb:", "filterverb:"), `unknown field "extenders[0].filterverb"`},
		"a doubled field":            {edit("enableHTTPS: true", "enableHTTPS: true\n    enableHTTPS: true"), `"enableHTTPS" already set`},
		"an unknown plugin argument": {edit("extenders:", "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {strategy: 1}}]}]\nextenders:"), `unknown field "strategy"`},
		"another kind":               {edit("kind: KubeSchedulerConfiguration", "kind: KubeletConfiguration"), `no kind "KubeletConfiguration"`},
		"another version":            {edit("config.k8s.io/v1", "config.k8s.io/v1beta3"), "v1beta3"},
		"arguments of a plugin":      {put(SchedulerConfig, "apiVersion: kubescheduler.config.k8s.io/v1\nkind: NodeResourcesFitArgs\n"), "it is a NodeResourcesFitArgs"},

		"no kubeconfig":                          {edit("kubeconfig: /var/lib/rancher/k3s/server/cred/scheduler.kubeconfig", "qps: 50"), "clientConnection.kubeconfig is missing: with a configuration the scheduler ignores --kubeconfig"},
		"a kubeconfig that is not there":         {drop("var/lib/rancher/k3s/server/cred/scheduler.kubeconfig"), "/var/lib/rancher/k3s/server/cred/scheduler.kubeconfig: clientConnection.kubeconfig of /etc/rancher/k3s/tidegate/scheduler.yaml: there is no such file"},
		"no extender":                            {edit("/extender\n", "/another\n"), "0 of its extenders are Tidegate's"},
		"a Service's name":                       {edit("https://127.0.0.1:9446", "https://tidegate.tidegate-server.svc"), "use https and a loopback address"},
		"plain HTTP":                             {edit("https://127.0.0.1", "http://127.0.0.1"), "use https and a loopback address"},
		"another verb":                           {edit("filterVerb: filter", "filterVerb: predicates"), `filterVerb "predicates"`},
		"no prioritize":                          {edit("prioritizeVerb: prioritize", ""), `prioritizeVerb ""`},
		"it binds":                               {edit("weight: 10", "weight: 10\n    bindVerb: bind"), "bindVerb"},
		"no weight":                              {edit("weight: 10", ""), "weight 0"},
		"HTTPS off":                              {edit("enableHTTPS: true", ""), "not verified"},
		"no CA":                                  {edit("caFile: /etc/rancher/k3s/tidegate/ca.crt", ""), "not verified"},
		"insecure":                               {edit("serverName:", "insecure: true\n      serverName:"), "not verified"},
		"another server name":                    {edit("serverName: tidegate-extender", "serverName: localhost"), `serverName "localhost"`},
		"no node cache":                          {edit("nodeCacheCapable: true", ""), "lose their pods"},
		"not ignorable":                          {edit("ignorable: true", ""), "no pod is scheduled while the extender is away"},
		"the default time-out":                   {edit("httpTimeout: 1s", ""), "httpTimeout 0s"},
		"a long time-out":                        {edit("httpTimeout: 1s", "httpTimeout: 30s"), "httpTimeout 30s"},
		"some resources only":                    {edit("weight: 10", "weight: 10\n    managedResources: [{name: a.example/gpu}]"), "managedResources"},
		"a client certificate that is not there": {drop("var/lib/rancher/k3s/server/tls/client-scheduler.crt"), "tlsConfig.certFile"},
		"half a client certificate":              {edit("keyFile: /var/lib/rancher/k3s/server/tls/client-scheduler.key", ""), "tlsConfig.keyFile is missing"},

		"no CA file":      {drop(ExtenderCA), "/etc/rancher/k3s/tidegate/ca.crt: there is no such file: run tidegate k3s install"},
		"no certificate":  {put(ExtenderCA, "hello"), "data does not contain any valid"},
		"no authority":    {put(ExtenderCA, string(certificate(t, false, -time.Hour, time.Hour))), "CN=test-ca is no certificate authority"},
		"an expired one":  {put(ExtenderCA, string(certificate(t, true, -2*time.Hour, -time.Hour))), "CN=test-ca has expired on 2026-03-01"},
		"one of tomorrow": {put(ExtenderCA, string(certificate(t, true, time.Hour, 2*time.Hour))), "is the server's clock right?"},
		"a relative CA":   {edit("/etc/rancher/k3s/tidegate/ca.crt", "ca.crt"), "no absolute path"},
		"no client certificate at all is fine": {change: func(server fstest.MapFS) {
			edit("certFile: /var/lib/rancher/k3s/server/tls/client-scheduler.crt", "")(server)
			edit("keyFile: /var/lib/rancher/k3s/server/tls/client-scheduler.key", "")(server)
		}},
		"another extender beside it": {change: edit("extenders:", "extenders:\n  - urlPrefix: http://127.0.0.1:1234/other\n    filterVerb: filter")},
	} {
		t.Run(name, func(t *testing.T) {
			server := freshServer()
			for _, f := range desired(ca) {
				server[f.path] = &fstest.MapFile{Data: f.content}
			}
			tc.change(server)
			findings := Check(server, now)
			if tc.want == "" {
				if len(findings) > 0 {
					t.Errorf("findings %q, want none", findings)
				}
				return
			}
			if len(findings) != 1 || !strings.Contains(findings[0].String(), tc.want) {
				t.Errorf("findings %q, want one with %q", findings, tc.want)
			}
		})
	}
}
