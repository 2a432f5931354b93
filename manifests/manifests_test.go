package manifests

import (
	"bufio"
	"io"
	"io/fs"
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
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/api"
)

func TestKustomizationListsEveryFile(t *testing.T) {
	var kustomization struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Resources  []string `json:"resources"`
	}
	decodeFile(t, "kustomization.yaml", &kustomization)
	files, err := fs.Glob(FS, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return name == "kustomization.yaml" })
	slices.Sort(kustomization.Resources)
	if diff := cmp.Diff(files, kustomization.Resources); diff != "" {
		t.Errorf("resources (-files +listed):\n%s", diff)
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
		want := ""
		if namespaced {
			want = api.Namespace
		}
		if got := accessor.GetNamespace(); got != want && !(got == "default" && strings.HasPrefix(kind, "Role")) {
			t.Errorf("%s %s is in namespace %q, want %q", kind, accessor.GetName(), got, want)
		}
	}
	if got := one[*corev1.Namespace](t, "").Name; got != api.Namespace {
		t.Errorf("the namespace is %q, want %q", got, api.Namespace)
	}
}

func TestLeastPrivilege(t *testing.T) {
	cluster := one[*rbacv1.ClusterRole](t, "")
	for _, rule := range cluster.Rules {
		for _, resource := range rule.Resources {
			if forbidden := []string{"pods/binding", "bindings", "secrets", "configmaps", "leases"}; slices.Contains(forbidden, resource) {
				t.Errorf("the ClusterRole grants %s in every namespace", resource)
			}
		}
	}
	rules := slices.Clone(cluster.Rules)
	names := map[string][]string{}
	for _, role := range all[*rbacv1.Role](t) {
		rules = append(rules, role.Rules...)
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				names[resource] = append(names[resource], rule.ResourceNames...)
			}
		}
	}
	for _, rule := range rules {
		for _, word := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs) {
			if strings.Contains(word, "*") {
				t.Errorf("rule %+v has a wildcard", rule)
			}
		}
	}
	want := map[string][]string{"configmaps": {api.StatusConfigMap}, "leases": {api.LeaseName}, "pods/binding": nil, "endpointslices": nil}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("what the Roles may touch, by name (-want +got):\n%s", diff)
	}
}

func TestRolesAreBoundToTheServiceAccount(t *testing.T) {
	account := one[*corev1.ServiceAccount](t, "")
	want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: account.Name, Namespace: account.Namespace}}
	clusterBinding := one[*rbacv1.ClusterRoleBinding](t, "")
	if diff := cmp.Diff(want, clusterBinding.Subjects); diff != "" {
		t.Errorf("subjects of the ClusterRoleBinding (-want +got):\n%s", diff)
	}
	for _, binding := range all[*rbacv1.RoleBinding](t) {
		if diff := cmp.Diff(want, binding.Subjects); diff != "" {
			t.Errorf("subjects of the RoleBinding in %s (-want +got):\n%s", binding.Namespace, diff)
		}
	}
	if got := one[*appsv1.DaemonSet](t, "").Spec.Template.Spec.ServiceAccountName; got != account.Name {
		t.Errorf("the DaemonSet runs as %q, want %q", got, account.Name)
	}
}

// The pods take hostNetwork, with probes there, and nothing else that the restricted level of Pod
// Security forbids.
func TestPodsAreRestrictedButForTheHostNetwork(t *testing.T) {
	spec := one[*appsv1.DaemonSet](t, "").Spec.Template.Spec
	if s := spec.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("pod security context %+v, want runAsNonRoot and the runtime's seccomp profile", s)
	}
	if spec.HostPID || spec.HostIPC || !spec.HostNetwork {
		t.Errorf("hostPID %t, hostIPC %t, hostNetwork %t, want only the last", spec.HostPID, spec.HostIPC, spec.HostNetwork)
	}
	for _, volume := range spec.Volumes {
		if volume.HostPath != nil {
			t.Errorf("volume %s is a host path", volume.Name)
		}
	}
	for _, c := range spec.Containers {
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			t.Errorf("container %s has security context %+v, want no escalation and no capabilities", c.Name, s)
		}
	}
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

// objects decodes every object of the base.
func objects(t *testing.T) []runtime.Object {
	t.Helper()
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	files, err := fs.Glob(FS, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var found []runtime.Object
	for _, name := range files {
		if name == "kustomization.yaml" {
			continue
		}
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
