package manifests

import (
	"bufio"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/api"
)

// Each folder's kustomization lists every other file in it, so that none is
// forgotten.
func TestKustomizationsListEveryFile(t *testing.T) {
	for _, folder := range parts {
		var kustomization struct {
			APIVersion string   `json:"apiVersion"`
			Kind       string   `json:"kind"`
			Resources  []string `json:"resources"`
		}
		decodeFile(t, path.Join(folder, "kustomization.yaml"), &kustomization)
		var files []string
		for _, file := range filesOf(t, folder) {
			files = append(files, path.Base(file))
		}
		slices.Sort(kustomization.Resources)
		if diff := cmp.Diff(files, kustomization.Resources); diff != "" {
			t.Errorf("resources of %s (-files +listed):\n%s", folder, diff)
		}
	}
}

// The typed objects are decoded strictly: an unknown or a doubled field fails.
// cert-manager's kinds have no types here; they are read as they are.
func TestObjectsStandInTheirNamespace(t *testing.T) {
	for _, obj := range objects(t) {
		accessor := obj.(interface {
			GetName() string
			GetNamespace() string
		})
		kind := obj.GetObjectKind().GroupVersionKind().Kind
		namespaced := !slices.Contains([]string{
			"Namespace", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration",
			"ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
		}, kind)
		got := accessor.GetNamespace()
		if own := got == api.Namespace || got == api.ServerNamespace; namespaced != own && !(got == "default" && strings.HasPrefix(kind, "Role")) {
			t.Errorf("%s %s is in namespace %q", kind, accessor.GetName(), got)
		}
	}
}

// Only what needs the servers' network is out of the restricted level.
func TestNamespaces(t *testing.T) {
	levels := map[string]string{}
	for _, namespace := range all[*corev1.Namespace](t) {
		levels[namespace.Name] = namespace.Labels["pod-security.kubernetes.io/enforce"]
	}
	want := map[string]string{api.Namespace: "restricted", api.ServerNamespace: "privileged"}
	if diff := cmp.Diff(want, levels); diff != "" {
		t.Errorf("enforced levels of Pod Security (-want +got):\n%s", diff)
	}
	if got := one[*appsv1.DaemonSet](t, "tidegate").Namespace; got != api.ServerNamespace {
		t.Errorf("the servers' DaemonSet is in namespace %s, want %s", got, api.ServerNamespace)
	}
	if got := one[*appsv1.Deployment](t, "").Namespace; got != api.Namespace {
		t.Errorf("the Deployment is in namespace %s, want %s", got, api.Namespace)
	}
}

// Whether each verb is needed, the end-to-end tests judge.
func TestLeastPrivilege(t *testing.T) {
	for _, cluster := range all[*rbacv1.ClusterRole](t) {
		for _, rule := range cluster.Rules {
			for _, resource := range rule.Resources {
				if forbidden := []string{"pods/binding", "bindings", "secrets", "configmaps", "leases"}; slices.Contains(forbidden, resource) {
					t.Errorf("ClusterRole %s grants %s in every namespace", cluster.Name, resource)
				}
			}
			wildcards(t, rule)
		}
	}
	names := map[string][]string{}
	for _, role := range all[*rbacv1.Role](t) {
		for _, rule := range role.Rules {
			wildcards(t, rule)
			for _, resource := range rule.Resources {
				key := role.Name + " " + resource
				names[key] = append(names[key], rule.ResourceNames...)
			}
		}
	}
	want := map[string][]string{
		"tidegate configmaps":         {api.StatusConfigMap},
		"tidegate leases":             {api.LeaseName},
		"tidegate events":             nil,
		"tidegate pods/binding":       nil,
		"tidegate endpointslices":     nil,
		"tidegate-webhook configmaps": {api.StatusConfigMap},
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("what the Roles may touch, by name (-want +got):\n%s", diff)
	}
}

func wildcards(t *testing.T, rule rbacv1.PolicyRule) {
	t.Helper()
	for _, word := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs) {
		if strings.Contains(word, "*") {
			t.Errorf("rule %+v has a wildcard", rule)
		}
	}
}

func TestRolesAreBoundToTheWorkloads(t *testing.T) {
	accounts := map[string]bool{}
	for _, account := range all[*corev1.ServiceAccount](t) {
		accounts[account.Namespace+"/"+account.Name] = false
	}
	for workload, spec := range podSpecs(t) {
		namespace, _, _ := strings.Cut(workload, "/")
		if _, ok := accounts[namespace+"/"+spec.ServiceAccountName]; !ok {
			t.Errorf("%s runs as %q, which is not there", workload, spec.ServiceAccountName)
		}
	}
	check := func(binding, role string, subjects []rbacv1.Subject) {
		if len(subjects) != 1 || subjects[0].Kind != "ServiceAccount" || subjects[0].Name != role {
			t.Errorf("%s binds Role %s to %+v, want the ServiceAccount of that name", binding, role, subjects)
			return
		}
		key := subjects[0].Namespace + "/" + subjects[0].Name
		if _, ok := accounts[key]; !ok {
			t.Errorf("%s binds ServiceAccount %s, which is not there", binding, key)
		}
		accounts[key] = true
	}
	for _, b := range all[*rbacv1.ClusterRoleBinding](t) {
		check("ClusterRoleBinding "+b.Name, b.RoleRef.Name, b.Subjects)
	}
	for _, b := range all[*rbacv1.RoleBinding](t) {
		check("RoleBinding "+b.Namespace+"/"+b.Name, b.RoleRef.Name, b.Subjects)
	}
	for account, bound := range accounts {
		if !bound {
			t.Errorf("no Role is bound to ServiceAccount %s", account)
		}
	}
}

// Every pod meets the restricted level of Pod Security; those in the servers'
// namespace take hostNetwork, with probes there, besides.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	for workload, spec := range podSpecs(t) {
		if strings.HasPrefix(workload, api.ServerNamespace+"/") {
			if !spec.HostNetwork {
				t.Errorf("%s has no hostNetwork: it belongs to namespace %s", workload, api.Namespace)
			}
			spec.HostNetwork = false
			for i := range spec.Containers {
				c := &spec.Containers[i]
				c.LivenessProbe, c.ReadinessProbe, c.Ports = nil, nil, nil
			}
		}
		results := evaluator.EvaluatePod(level, &metav1.ObjectMeta{}, &spec)
		if result := policy.AggregateCheckResults(results); !result.Allowed {
			t.Errorf("%s: %s", workload, result.ForbiddenDetail())
		}
		for _, c := range spec.Containers {
			if s := c.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
				t.Errorf("%s, container %s: its root is not read-only", workload, c.Name)
			}
		}
	}
}

// podSpecs returns the pods of the workloads by "namespace/name".
func podSpecs(t *testing.T) map[string]corev1.PodSpec {
	t.Helper()
	specs := map[string]corev1.PodSpec{}
	for _, d := range all[*appsv1.DaemonSet](t) {
		specs[d.Namespace+"/"+d.Name] = d.Spec.Template.Spec
	}
	for _, d := range all[*appsv1.Deployment](t) {
		specs[d.Namespace+"/"+d.Name] = d.Spec.Template.Spec
	}
	return specs
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(FS, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func decodeFile(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(read(t, name)), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// parts are the folders whose objects together are what most clusters apply.
var parts = []string{"core", "webhook", "agent", "cert-manager"}

// filesOf returns the folder's files without its kustomization, sorted.
func filesOf(t *testing.T, folder string) []string {
	t.Helper()
	files, err := fs.Glob(FS, path.Join(folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(name string) bool { return path.Base(name) == "kustomization.yaml" })
}

// objects decodes every object of the parts.
func objects(t *testing.T) []runtime.Object {
	t.Helper()
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var files []string
	for _, folder := range parts {
		files = append(files, filesOf(t, folder)...)
	}
	var found []runtime.Object
	for _, name := range files {
		documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(read(t, name))))
		for {
			document, err := documents.Read()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var untyped unstructured.Unstructured
			if err := yaml.UnmarshalStrict(document, &untyped.Object); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if untyped.GroupVersionKind().Group == "cert-manager.io" {
				found = append(found, &untyped)
				continue
			}
			obj, _, err := strict.Decode(document, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			found = append(found, obj)
		}
	}
	return found
}

func all[T runtime.Object](t *testing.T) []T {
	t.Helper()
	var found []T
	for _, obj := range objects(t) {
		if typed, ok := obj.(T); ok {
			found = append(found, typed)
		}
	}
	return found
}

// one returns the only object of the type, or of that type and name.
func one[T runtime.Object](t *testing.T, name string) T {
	t.Helper()
	found := slices.DeleteFunc(all[T](t), func(obj T) bool {
		named, ok := any(obj).(interface{ GetName() string })
		return name != "" && (!ok || named.GetName() != name)
	})
	if len(found) != 1 {
		t.Fatalf("found %d objects of type %T named %q, want one", len(found), *new(T), name)
	}
	return found[0]
}

func excludesTheSystem(requirements []metav1.LabelSelectorRequirement) bool {
	return slices.ContainsFunc(requirements, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key == corev1.LabelMetadataName && r.Operator == metav1.LabelSelectorOpNotIn &&
			slices.Contains(r.Values, metav1.NamespaceSystem) && slices.Contains(r.Values, api.Namespace)
	})
}
