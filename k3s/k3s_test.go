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

	"k8s.io/client-go/util/keyutil"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// certificate returns a PEM certificate that is good for the hours around now.
func certificate(t *testing.T, isCA bool, from, to time.Duration) []byte {
	t.Helper()
	cert, _ := pair(t, isCA, from, to)
	return cert
}

func pair(t *testing.T, isCA bool, from, to time.Duration) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return selfSigned(t, key, isCA, from, to), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// renewed is an authority anew, with the key that it had.
func renewed(t *testing.T, keyPEM []byte) []byte {
	t.Helper()
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return selfSigned(t, key.(*ecdsa.PrivateKey), true, -time.Minute, 2*time.Hour)
}

func selfSigned(t *testing.T, key *ecdsa.PrivateKey, isCA bool, from, to time.Duration) []byte {
	t.Helper()
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

const (
	data           = "var/lib/rancher/k3s"
	kubeconfigFile = data + "/server/cred/scheduler.kubeconfig"
	clientCert     = data + "/server/tls/client-scheduler.crt"
	clientKey      = data + "/server/tls/client-scheduler.key"
	serverCA       = data + "/server/tls/server-ca.crt"
)

// freshServer has what k3s writes at its first start, in that folder of data.
func freshServer(t *testing.T, dataDir string) fstest.MapFS {
	t.Helper()
	cert, key := pair(t, false, -time.Hour, time.Hour)
	server := fstest.MapFS{
		"etc/rancher/k3s/config.yaml.d/readme.txt":              {Data: []byte("not read by k3s: [")},
		"etc/rancher/k3s/config.yaml.d/disabled.yaml.old":       {Data: []byte("nor this: [")},
		"etc/rancher/k3s/config.yaml.d/folder.yaml/nested.yaml": {Data: []byte("nor this: [")},
	}
	for name, content := range map[string]string{
		clientCert: string(cert), clientKey: string(key), serverCA: string(certificate(t, true, -time.Hour, time.Hour)),
		kubeconfigFile: `apiVersion: v1
kind: Config
clusters:
- name: local
  cluster: {server: "https://127.0.0.1:6444", certificate-authority: /` + serverCA + `}
users:
- name: user
  user: {client-certificate: /` + clientCert + `, client-key: /` + clientKey + `}
contexts:
- name: Default
  context: {cluster: local, user: user}
current-context: Default
`,
	} {
		server[strings.Replace(name, data, dataDir, 1)] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(content, data, dataDir))}
	}
	return server
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
		want   string // part of every finding; empty for none
	}{
		"as installed":          {change: func(fstest.MapFS) {}},
		"other settings":        {change: put(mainConfig, "tls-san: [a.example]\nkube-scheduler-arg: v=2\n")},
		"the data where it is":  {change: put(mainConfig, "data-dir: /var/lib/rancher/k3s/\n")},
		"more arguments, added": {change: put(another, "kube-scheduler-arg+: [v=2]\n")},

		"no snippet":                  {drop(Snippet), "/etc/rancher/k3s/config.yaml.d/tidegate.yaml: k3s is not told of a scheduler configuration: run tidegate k3s install"},
		"overwritten by a later file": {put(another, "kube-scheduler-arg: [v=2]\n"), `the scheduler gets no configuration, and "v=2" from /etc/rancher/k3s/config.yaml.d/zz.yaml`},
		"a second configuration":      {put(another, "kube-scheduler-arg+: config=/etc/other.yaml\n"), "is given /etc/rancher/k3s/tidegate/scheduler.yaml, /etc/other.yaml"},
		"a name in capitals":          {put("etc/rancher/k3s/config.yaml.d/zz.YAML", "kube-scheduler-arg: [v=2]\n"), "zz.YAML"},
		"a flag that is not there":    {put(another, "kube-scheduler-arg+: [nonsense=1]\n"), "/etc/rancher/k3s/config.yaml.d/zz.yaml: the scheduler of Kubernetes 1.37 has no flag --nonsense"},
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
		"a kubeconfig that is not there":         {drop(kubeconfigFile), "/var/lib/rancher/k3s/server/cred/scheduler.kubeconfig: clientConnection.kubeconfig of /etc/rancher/k3s/tidegate/scheduler.yaml: there is no such file"},
		"no extender":                            {edit("/extender\n", "/another\n"), "0 of its extenders are Tidegate's"},
		"a Service's name":                       {edit("https://127.0.0.1:9446", "https://tidegate.tidegate-server.svc"), "use https and a loopback address"},
		"plain HTTP":                             {edit("https://127.0.0.1", "http://127.0.0.1"), "use https and a loopback address"},
		"another verb":                           {edit("filterVerb: filter", "filterVerb: predicates"), `filterVerb "predicates"`},
		"no prioritize":                          {edit("prioritizeVerb: prioritize", ""), `prioritizeVerb ""`},
		"it binds":                               {edit("weight: 10", "weight: 10\n    bindVerb: bind"), "bindVerb"},
		"no weight":                              {edit("weight: 10", ""), "extenders[0].weight"},
		"HTTPS off":                              {edit("enableHTTPS: true", ""), "not verified"},
		"no CA":                                  {edit("caFile: /etc/rancher/k3s/tidegate/ca.crt", ""), "not verified"},
		"insecure":                               {edit("serverName:", "insecure: true\n      serverName:"), "insecure"},
		"another server name":                    {edit("serverName: tidegate-extender", "serverName: localhost"), `serverName "localhost"`},
		"no node cache":                          {edit("nodeCacheCapable: true", ""), "lose their pods"},
		"not ignorable":                          {edit("ignorable: true", ""), "no pod is scheduled while the extender is away"},
		"the default time-out":                   {edit("httpTimeout: 1s", ""), "httpTimeout 0s"},
		"a long time-out":                        {edit("httpTimeout: 1s", "httpTimeout: 30s"), "httpTimeout 30s"},
		"some resources only":                    {edit("weight: 10", "weight: 10\n    managedResources: [{name: a.example/gpu}]"), "managedResources"},
		"a client certificate that is not there": {edit("certFile: /"+clientCert, "certFile: /etc/client.crt"), "/etc/client.crt: extenders[0].tlsConfig.certFile"},
		"half a client certificate":              {edit("keyFile: /var/lib/rancher/k3s/server/tls/client-scheduler.key", ""), "has one of certFile and keyFile"},

		"a kubeconfig that is none":               {put(kubeconfigFile, "hello"), "cannot unmarshal"},
		"an empty kubeconfig":                     {put(kubeconfigFile, ""), "it is empty"},
		"a kubeconfig without a context":          {put(kubeconfigFile, "apiVersion: v1\nkind: Config\n"), "clientConnection.kubeconfig of /etc/rancher/k3s/tidegate/scheduler.yaml: invalid configuration"},
		"a kubeconfig whose authority is missing": {drop(serverCA), "/var/lib/rancher/k3s/server/tls/server-ca.crt: certificate-authority in /" + kubeconfigFile},
		"a kubeconfig that trusts nobody":         {put(serverCA, "hello"), "unable to load root certificates"},

		"an unknown plugin":         {edit("extenders:", "profiles: [{plugins: {score: {enabled: [{name: Bogus}]}}}]\nextenders:"), `profiles[0].plugins.score.enabled[0]: Invalid value: "Bogus": Kubernetes 1.37 has no such plugin`},
		"a plugin twice":            {edit("extenders:", "profiles: [{plugins: {score: {enabled: [{name: NodeAffinity}, {name: NodeAffinity}]}}}]\nextenders:"), "score.enabled[1]: Duplicate"},
		"two queues":                {edit("extenders:", "profiles: [{plugins: {queueSort: {enabled: [{name: PrioritySort}, {name: NodeName}]}}}]\nextenders:"), "Too many"},
		"queues that differ":        {edit("extenders:", "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}}]\nextenders:"), "must be the same in all profiles"},
		"profiles without a name":   {edit("extenders:", "profiles: [{schedulerName: a}, {}]\nextenders:"), "profiles[1].schedulerName: Required"},
		"profiles of one name":      {edit("extenders:", "profiles: [{schedulerName: a}, {schedulerName: a}]\nextenders:"), "profiles[1].schedulerName: Duplicate"},
		"arguments twice":           {edit("extenders:", "profiles: [{pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]}]\nextenders:"), "pluginConfig[1]: Duplicate"},
		"no parallelism":            {edit("extenders:", "parallelism: -5\nextenders:"), "parallelism: Invalid value: -5"},
		"a share beyond 100":        {edit("extenders:", "percentageOfNodesToScore: 101\nextenders:"), "must be from 0 to 100"},
		"no back-off":               {edit("extenders:", "podInitialBackoffSeconds: 0\nextenders:"), "podInitialBackoffSeconds"},
		"back-off in reverse":       {edit("extenders:", "podInitialBackoffSeconds: 20\nextenders:"), "podMaxBackoffSeconds: Invalid value: 10"},
		"a lease that is too short": {edit("extenders:", "leaderElection: {leaseDuration: 1s}\nextenders:"), "leaderElection.leaseDuration"},
		"another lock":              {edit("extenders:", "leaderElection: {resourceLock: endpoints}\nextenders:"), "resourceLock"},
		"two that bind": {edit("extenders:", "extenders:\n  - {urlPrefix: http://127.0.0.1:1/a, bindVerb: bind}\n  - {urlPrefix: http://127.0.0.1:1/b, bindVerb: bind}"),
			"extenders: Too many"},
		"another's resource": {edit("extenders:", "extenders:\n  - {urlPrefix: http://127.0.0.1:1/a, managedResources: [{name: 'a b'}]}"), "managedResources[0].name"},
		"another's CA is missing": {edit("extenders:", "extenders:\n  - {urlPrefix: https://127.0.0.1:1/a, enableHTTPS: true, tlsConfig: {caFile: /nonexistent/ca.crt}}"),
			"/nonexistent/ca.crt: extenders[0].tlsConfig.caFile of /etc/rancher/k3s/tidegate/scheduler.yaml: there is no such file"},

		"data elsewhere, and old data left": {put(mainConfig, "data-dir: /mnt/k3s\n"), "it is old, because k3s keeps its data in /mnt/k3s"},
		"the same, by its short name":       {put(another, "d: /mnt/k3s\n"), "it is old, because k3s keeps its data in /mnt/k3s"},

		"no CA file":      {drop(ExtenderCA), "/etc/rancher/k3s/tidegate/ca.crt: tlsConfig.caFile of /etc/rancher/k3s/tidegate/scheduler.yaml: there is no such file: run tidegate k3s install"},
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
			server := freshServer(t, data)
			for _, f := range desired(server, ca) {
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
			if len(findings) == 0 {
				t.Errorf("no findings, want some with %q", tc.want)
			}
			for _, f := range findings {
				if !strings.Contains(f.String(), tc.want) {
					t.Errorf("finding %q, want only those with %q", f, tc.want)
				}
			}
		})
	}
}

// A server trusts what its file says, whatever the cluster has by now.
func TestCheckAgainst(t *testing.T) {
	ca, key := pair(t, true, -time.Hour, time.Hour)
	for name, tc := range map[string]struct {
		authority []byte
		want      string // part of the only finding; empty for none
	}{
		"the same":               {authority: ca},
		"renewed, with the key":  {authority: renewed(t, key)},
		"not known":              {},
		"made anew":              {authority: certificate(t, true, -time.Hour, time.Hour), want: "/etc/rancher/k3s/tidegate/ca.crt: the extender's authority in the cluster is another one"},
		"no authority after all": {authority: []byte("hello"), want: "any valid"},
	} {
		t.Run(name, func(t *testing.T) {
			server := freshServer(t, data)
			for _, f := range desired(server, ca) {
				server[f.path] = &fstest.MapFile{Data: f.content}
			}
			findings := CheckAgainst(server, tc.authority, now)
			if tc.want == "" {
				if len(findings) > 0 {
					t.Errorf("findings %q, want none", findings)
				}
				return
			}
			if len(findings) != 1 || !strings.Contains(findings[0].String(), tc.want) || !strings.Contains(findings[0].Fix, "tidegate k3s install, and restart k3s") {
				t.Errorf("findings %q, want one with %q", findings, tc.want)
			}
		})
	}
}
