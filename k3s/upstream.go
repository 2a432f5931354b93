package k3s

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-base/config"
	"k8s.io/component-base/config/v1alpha1"
	basevalidation "k8s.io/component-base/config/validation"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"
)

// knownVersion is the Kubernetes whose scheduler's rules these are; the
// end-to-end tests hold them against its own code.
const knownVersion = "1.37"

// ifNewer is the fix for a name that is not among the known ones.
const ifNewer = "correct or remove it; if k3s here is newer than " + knownVersion + ", use a newer tidegate"

// schedulerFlags are the flags that kube-scheduler takes. Source:
// kube-scheduler --help.
var schedulerFlags = strings.Fields(`
	config master write-config-to bind-address cert-dir disable-http2-serving http2-max-streams-per-connection permit-address-sharing permit-port-sharing
	secure-port tls-cert-file tls-cipher-suites tls-curve-preferences tls-min-version tls-private-key-file
	tls-sni-cert-key authentication-kubeconfig authentication-skip-lookup authentication-token-webhook-cache-ttl
	authentication-tolerate-lookup-failure client-ca-file requestheader-allowed-names
	requestheader-client-ca-file requestheader-extra-headers-prefix requestheader-group-headers
	requestheader-uid-headers requestheader-username-headers authorization-always-allow-paths
	authorization-kubeconfig authorization-webhook-cache-authorized-ttl
	authorization-webhook-cache-unauthorized-ttl contention-profiling kube-api-burst kube-api-content-type
	kube-api-qps kubeconfig pod-max-in-unschedulable-pods-duration profiling leader-elect
	leader-elect-lease-duration leader-elect-renew-deadline leader-elect-resource-lock
	leader-elect-resource-name leader-elect-resource-namespace leader-elect-retry-period emulated-version
	feature-gates min-compatibility-version allow-metric-labels allow-metric-labels-manifest disabled-metrics
	show-hidden-metrics-for-version log-flush-frequency log-json-info-buffer-size log-json-split-stream
	log-text-info-buffer-size log-text-split-stream logging-format v vmodule`)

// schedulerPlugins are the plugins that kube-scheduler has; k3s adds none.
// Source: pkg/scheduler/framework/plugins/names of Kubernetes.
var schedulerPlugins = strings.Fields(`
	PrioritySort DefaultBinder DefaultPreemption DynamicResources GangScheduling ImageLocality InterPodAffinity
	NodeAffinity NodeDeclaredFeatures NodeName NodePorts NodeResourcesBalancedAllocation NodeResourcesFit
	NodeUnschedulable NodeVolumeLimits PodTopologySpread DeferredPodScheduling SchedulingGates TaintToleration
	VolumeBinding VolumeRestrictions VolumeZone TopologyPlacementGenerator PodGroupPodsCount`)

// refused returns the values with which the scheduler does not start, but for
// those in the arguments of plugins. Source: ValidateKubeSchedulerConfiguration
// in pkg/scheduler/apis/config/validation of Kubernetes, and what the framework
// asks of profiles in pkg/scheduler/framework/runtime.
func refused(c *schedulerv1.KubeSchedulerConfiguration) field.ErrorList {
	errs := refusedBase(c)
	positive := func(name string, value int64) {
		if value <= 0 {
			errs = append(errs, field.Invalid(field.NewPath(name), value, "must be greater than zero"))
		}
	}
	positive("parallelism", int64(ptr.Deref(c.Parallelism, 16)))
	first, longest := ptr.Deref(c.PodInitialBackoffSeconds, 1), ptr.Deref(c.PodMaxBackoffSeconds, 10)
	positive("podInitialBackoffSeconds", first)
	if longest < first {
		errs = append(errs, field.Invalid(field.NewPath("podMaxBackoffSeconds"), longest, "must not be less than podInitialBackoffSeconds"))
	}
	errs = append(errs, refusedPercentage(field.NewPath("percentageOfNodesToScore"), c.PercentageOfNodesToScore)...)
	errs = append(errs, refusedProfiles(field.NewPath("profiles"), c.Profiles)...)
	return append(errs, refusedExtenders(field.NewPath("extenders"), c.Extenders)...)
}

// refusedBase judges what all of Kubernetes' components have.
func refusedBase(c *schedulerv1.KubeSchedulerConfiguration) field.ErrorList {
	var connection config.ClientConnectionConfiguration
	var election config.LeaderElectionConfiguration
	given := c.LeaderElection.DeepCopy()
	if given.ResourceLock == "" {
		given.ResourceLock = "leases"
	}
	if given.ResourceNamespace == "" {
		given.ResourceNamespace = schedulerv1.SchedulerDefaultLockObjectNamespace
	}
	if given.ResourceName == "" {
		given.ResourceName = schedulerv1.SchedulerDefaultLockObjectName
	}
	v1alpha1.RecommendedDefaultLeaderElectionConfiguration(given)
	path := field.NewPath("leaderElection")
	if err := v1alpha1.Convert_v1alpha1_LeaderElectionConfiguration_To_config_LeaderElectionConfiguration(given, &election, nil); err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	if err := v1alpha1.Convert_v1alpha1_ClientConnectionConfiguration_To_config_ClientConnectionConfiguration(&c.ClientConnection, &connection, nil); err != nil {
		return field.ErrorList{field.InternalError(field.NewPath("clientConnection"), err)}
	}
	errs := basevalidation.ValidateClientConnectionConfiguration(&connection, field.NewPath("clientConnection"))
	errs = append(errs, basevalidation.ValidateLeaderElectionConfiguration(&election, path)...)
	if election.LeaderElect && election.ResourceLock != "leases" {
		errs = append(errs, field.NotSupported(path.Child("resourceLock"), election.ResourceLock, []string{"leases"}))
	}
	return errs
}

func refusedPercentage(path *field.Path, value *int32) field.ErrorList {
	if value != nil && (*value < 0 || *value > 100) {
		return field.ErrorList{field.Invalid(path, *value, "must be from 0 to 100")}
	}
	return nil
}

func refusedProfiles(path *field.Path, profiles []schedulerv1.KubeSchedulerProfile) (errs field.ErrorList) {
	names, queues := sets.New[string](), sets.New[string]()
	for i, p := range profiles {
		at := path.Index(i)
		switch name := ptr.Deref(p.SchedulerName, ""); {
		case name == "" && (p.SchedulerName != nil || len(profiles) > 1):
			errs = append(errs, field.Required(at.Child("schedulerName"), "each of several profiles has a name"))
		case names.Has(name):
			errs = append(errs, field.Duplicate(at.Child("schedulerName"), name))
		default:
			names.Insert(name)
		}
		errs = append(errs, refusedPercentage(at.Child("percentageOfNodesToScore"), p.PercentageOfNodesToScore)...)
		configured := sets.New[string]()
		for j, c := range p.PluginConfig {
			if configured.Has(c.Name) {
				errs = append(errs, field.Duplicate(at.Child("pluginConfig").Index(j), c.Name))
			}
			configured.Insert(c.Name)
		}
		if p.Plugins == nil {
			p.Plugins = &schedulerv1.Plugins{}
		}
		errs = append(errs, refusedPlugins(at.Child("plugins"), p.Plugins)...)
		queues.Insert(fmt.Sprint(p.Plugins.QueueSort))
	}
	if len(queues) > 1 {
		errs = append(errs, field.Invalid(path, sets.List(queues), "plugins.queueSort must be the same in all profiles"))
	}
	return errs
}

func refusedPlugins(path *field.Path, p *schedulerv1.Plugins) (errs field.ErrorList) {
	for _, point := range []struct {
		name string
		set  schedulerv1.PluginSet
	}{
		{"preEnqueue", p.PreEnqueue}, {"queueSort", p.QueueSort}, {"preFilter", p.PreFilter}, {"filter", p.Filter},
		{"postFilter", p.PostFilter}, {"preScore", p.PreScore}, {"score", p.Score}, {"reserve", p.Reserve},
		{"permit", p.Permit}, {"preBind", p.PreBind}, {"bind", p.Bind}, {"postBind", p.PostBind},
		{"multiPoint", p.MultiPoint}, {"placementGenerate", p.PlacementGenerate}, {"placementScore", p.PlacementScore},
		{"podGroupPostFilter", p.PodGroupPostFilter},
	} {
		enabled := sets.New[string]()
		for i, plugin := range point.set.Enabled {
			at := path.Child(point.name, "enabled").Index(i)
			switch {
			case !slices.Contains(schedulerPlugins, plugin.Name):
				errs = append(errs, field.Invalid(at, plugin.Name, "Kubernetes "+knownVersion+" has no such plugin"))
			case enabled.Has(plugin.Name):
				errs = append(errs, field.Duplicate(at, plugin.Name))
			}
			enabled.Insert(plugin.Name)
		}
		if point.name == "queueSort" && len(point.set.Enabled) > 1 {
			errs = append(errs, field.TooMany(path.Child("queueSort", "enabled"), len(point.set.Enabled), 1))
		}
	}
	return errs
}

func refusedExtenders(path *field.Path, extenders []schedulerv1.Extender) (errs field.ErrorList) {
	binders, managed := 0, sets.New[string]()
	for i, e := range extenders {
		at := path.Index(i)
		if e.PrioritizeVerb != "" && e.Weight <= 0 {
			errs = append(errs, field.Invalid(at.Child("weight"), e.Weight, "prioritize takes a positive weight"))
		}
		if e.BindVerb != "" {
			binders++
		}
		for j, r := range e.ManagedResources {
			at := at.Child("managedResources").Index(j).Child("name")
			for _, problem := range validation.IsQualifiedName(r.Name) {
				errs = append(errs, field.Invalid(at, r.Name, problem))
			}
			if !strings.Contains(r.Name, "/") || strings.Contains(r.Name, "kubernetes.io/") {
				errs = append(errs, field.Invalid(at, r.Name, "is no extended resource"))
			}
			if managed.Has(r.Name) {
				errs = append(errs, field.Duplicate(at, r.Name))
			}
			managed.Insert(r.Name)
		}
	}
	if binders > 1 {
		errs = append(errs, field.TooMany(path, binders, 1))
	}
	return errs
}
