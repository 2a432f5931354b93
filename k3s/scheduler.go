package k3s

import (
	"fmt"
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
func checkScheduler(f files, text []byte, now time.Time) []Finding {
	config, err := decode(text)
	if err != nil {
		return []Finding{{f.configuration, err.Error(), "the scheduler cannot start with it, nor can k3s: mend it"}}
	}
	var findings []Finding
	say := func(problem, fix string) { findings = append(findings, Finding{f.configuration, problem, fix}) }
	for _, err := range refused(config) {
		say(err.Error(), "the scheduler cannot start with it, nor can k3s: mend it")
	}
	if found := f.checkKubeconfig(config.ClientConnection.Kubeconfig); found != nil {
		findings = append(findings, *found)
	}
	ours := 0
	for i, e := range config.Extenders {
		if isTidegates(e) {
			ours++
			for _, rule := range extenderRules {
				if problem := rule.broken(e); problem != "" {
					say("Tidegate's extender: "+problem, rule.fix)
				}
			}
			if e.TLSConfig != nil && e.TLSConfig.CAFile != "" {
				if found := f.checkCA(e.TLSConfig.CAFile, now); found != nil {
					findings = append(findings, *found)
					continue
				}
			}
		}
		if e.TLSConfig == nil {
			continue
		}
		if found := f.checkTLS(fmt.Sprintf("extenders[%d].tlsConfig", i), e.TLSConfig); found != nil {
			findings = append(findings, *found)
		}
	}
	if ours != 1 {
		say(fmt.Sprintf("%d of its extenders are Tidegate's, want one", ours), "have the entry of manifests/k3s/scheduler.yaml there, once")
	}
	return findings
}

// decode reads a configuration as the scheduler does: unknown and doubled
// fields are errors.
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

// isTidegates reports whether the extender's URL is that of Tidegate's.
func isTidegates(e schedulerv1.Extender) bool {
	u, err := url.Parse(e.URLPrefix)
	return err == nil && path.Clean(u.Path) == path.Dir(extender.FilterPath)
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
