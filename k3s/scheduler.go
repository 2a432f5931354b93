package k3s

import (
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/tidegate-k3s/tidegate/extender"
)

// maxTimeout is what a hanging extender may cost every pod.
const maxTimeout = 2 * time.Second

// checkScheduler judges the scheduler's configuration, which is the content of
// the file, and the files that it names.
func checkScheduler(server fs.FS, file string, text []byte, now time.Time) []Finding {
	config, err := decode(text)
	if err != nil {
		return []Finding{{file, err.Error(), "the scheduler cannot start with it, nor can k3s: mend it"}}
	}
	var findings []Finding
	say := func(problem, fix string) { findings = append(findings, Finding{file, problem, fix}) }
	exists := func(field, name, fix string) {
		if name == "" {
			say(field+" is missing", fix)
		} else if _, err := readNamed(server, name); err != nil {
			f := unreadable(name, err, fix)
			f.Problem = fmt.Sprintf("%s of %s: %s", field, file, f.Problem)
			findings = append(findings, f)
		}
	}
	exists("clientConnection.kubeconfig", config.ClientConnection.Kubeconfig,
		"with a configuration the scheduler ignores --kubeconfig: name the one that k3s writes at its first start, "+reference().ClientConnection.Kubeconfig)
	ours := tidegates(config.Extenders)
	if len(ours) != 1 {
		say(fmt.Sprintf("%d of its extenders are Tidegate's, want one", len(ours)), "take that of tidegate k3s install")
		return findings
	}
	for _, rule := range extenderRules {
		if problem := rule.broken(ours[0]); problem != "" {
			say("Tidegate's extender: "+problem, rule.fix)
		}
	}
	tls := ours[0].TLSConfig
	if tls == nil {
		return findings
	}
	if tls.CertFile != "" || tls.KeyFile != "" {
		const fix = "name k3s' own client certificate of the scheduler, or leave certFile and keyFile out"
		exists("tlsConfig.certFile", tls.CertFile, fix)
		exists("tlsConfig.keyFile", tls.KeyFile, fix)
	}
	if tls.CAFile != "" {
		findings = append(findings, checkCA(server, tls.CAFile, now)...)
	}
	return findings
}

// decode reads a configuration as the scheduler does: unknown and doubled
// fields are errors. The scheduler's own judgement of values, such as the names
// of plugins, comes on top of that.
func decode(text []byte) (*schedulerv1.KubeSchedulerConfiguration, error) {
	scheme := runtime.NewScheme()
	if err := schedulerv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	obj, _, err := strict.Decode(text, nil, nil)
	if err != nil {
		return nil, err
	}
	config, ok := obj.(*schedulerv1.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("it is a %s, not a KubeSchedulerConfiguration", obj.GetObjectKind().GroupVersionKind().Kind)
	}
	return config, config.DecodeNestedObjects(strict)
}

// reference is the configuration that Install writes.
func reference() *schedulerv1.KubeSchedulerConfiguration {
	config, err := decode(embedded("k3s/scheduler.yaml"))
	if err != nil {
		panic(err) // a test decodes it
	}
	return config
}

// tidegates are the extenders whose URLs are those of Tidegate's.
func tidegates(extenders []schedulerv1.Extender) (ours []schedulerv1.Extender) {
	for _, e := range extenders {
		if u, err := url.Parse(e.URLPrefix); err == nil && path.Clean(u.Path) == path.Dir(extender.FilterPath) {
			ours = append(ours, e)
		}
	}
	return ours
}

// extenderRules say what Tidegate's extender needs of its entry. broken returns
// what is wrong, empty for nothing.
var extenderRules = []struct {
	broken func(schedulerv1.Extender) string
	fix    string
}{
	{func(e schedulerv1.Extender) string {
		u, err := url.Parse(e.URLPrefix)
		if err != nil || u.Scheme != "https" || !loopback(u) {
			return fmt.Sprintf("urlPrefix %s", e.URLPrefix)
		}
		return ""
	}, "the scheduler runs on the host, where cluster DNS does not resolve: use https and a loopback address"},
	{func(e schedulerv1.Extender) string {
		if e.FilterVerb != path.Base(extender.FilterPath) || e.PrioritizeVerb != path.Base(extender.PrioritizePath) {
			return fmt.Sprintf("filterVerb %q, prioritizeVerb %q", e.FilterVerb, e.PrioritizeVerb)
		}
		return ""
	}, "write filterVerb: filter and prioritizeVerb: prioritize"},
	{func(e schedulerv1.Extender) string {
		if e.BindVerb != "" || e.PreemptVerb != "" {
			return "it has a bindVerb or a preemptVerb"
		}
		return ""
	}, "remove both: Tidegate neither binds nor preempts"},
	{func(e schedulerv1.Extender) string {
		if e.Weight <= 0 {
			return fmt.Sprintf("weight %d", e.Weight)
		}
		return ""
	}, "the scheduler wants a positive weight for prioritize"},
	{func(e schedulerv1.Extender) string {
		if !e.EnableHTTPS || e.TLSConfig == nil || e.TLSConfig.Insecure || e.TLSConfig.CAFile == "" {
			return "its certificate is not verified"
		}
		return ""
	}, "set enableHTTPS: true and tlsConfig.caFile, and not insecure"},
	{func(e schedulerv1.Extender) string {
		want := reference().Extenders[0].TLSConfig.ServerName
		if e.TLSConfig != nil && e.TLSConfig.ServerName != want {
			return fmt.Sprintf("tlsConfig.serverName %q", e.TLSConfig.ServerName)
		}
		return ""
	}, "write serverName: tidegate-extender, the name in the certificate"},
	{func(e schedulerv1.Extender) string {
		if !e.NodeCacheCapable {
			return "nodeCacheCapable is off"
		}
		return ""
	}, "set it: nodes that come back from an extender otherwise lose their pods in the scheduler's view"},
	{func(e schedulerv1.Extender) string {
		if !e.Ignorable {
			return "ignorable is off"
		}
		return ""
	}, "set it: without it no pod is scheduled while the extender is away"},
	{func(e schedulerv1.Extender) string {
		if e.HTTPTimeout.Duration <= 0 || e.HTTPTimeout.Duration > maxTimeout {
			return fmt.Sprintf("httpTimeout %s", e.HTTPTimeout.Duration)
		}
		return ""
	}, "write httpTimeout: 1s: it is what a hanging extender costs every pod"},
	{func(e schedulerv1.Extender) string {
		if len(e.ManagedResources) > 0 {
			return "it has managedResources"
		}
		return ""
	}, "remove them: the extender is to be asked about every pod"},
}

func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}
