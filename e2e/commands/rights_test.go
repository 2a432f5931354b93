package commands

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
)

// right is one verb on one resource: in the whole cluster, or in a namespace.
type right struct{ verb, group, resource, name, namespace string }

// The rights that docs/commands.md gives to each command are enough for it, and
// without any one of them it says which it lacks.
func TestDocumentedRights(t *testing.T) {
	u := newUser(t).withTidegate()
	u.submits("works", 0)
	node := u.machine(cli.Busy).Name
	read := []right{
		{verb: "list", resource: "nodes"}, {verb: "list", resource: "pods"}, {verb: "list", group: "batch", resource: "jobs"}, {verb: "list", group: "apps", resource: "daemonsets"},
		{verb: "get", resource: "configmaps", name: api.StatusConfigMap, namespace: api.Namespace},
		{verb: "get", group: "coordination.k8s.io", resource: "leases", namespace: api.Namespace},
		{verb: "list", resource: "namespaces"}, {verb: "list", resource: "persistentvolumes"}, {verb: "list", resource: "persistentvolumeclaims"},
	}
	for _, resource := range []string{"storageclasses", "csidrivers", "csinodes", "csistoragecapacities", "volumeattachments"} {
		read = append(read, right{verb: "list", group: "storage.k8s.io", resource: resource})
	}
	patchNodes := []right{{verb: "get", resource: "nodes"}, {verb: "patch", resource: "nodes"}}
	patchConfigMaps := []right{{verb: "get", resource: "configmaps", namespace: api.Namespace}, {verb: "patch", resource: "configmaps", namespace: api.Namespace}}
	for command, tc := range map[string]struct {
		row    string // of the page
		rights []right
		undo   string // what makes the command have something to do
	}{
		"status": {"| `tidegate status` | pools, machines with their state, waiting pods with their reason | list nodes, pods, Jobs, DaemonSets, namespaces, volumes and their claims, storage classes, CSI drivers, CSI nodes, storage capacities and volume attachments; get the ConfigMap and the Lease in `tidegate-system` |", read, ""},
		"plan":   {"| `tidegate plan` | what Tidegate would do now; nothing is done | the same |", read, ""},
		"explain pod works": {"| get the pod, list events of its namespace; get the ConfigMap in `tidegate-system` |", []right{
			{verb: "get", resource: "pods", name: "works", namespace: "default"}, {verb: "list", resource: "events", namespace: "default"},
			{verb: "get", resource: "configmaps", name: api.StatusConfigMap, namespace: api.Namespace},
		}, ""},
		"retire " + node: {"| get and patch nodes |", patchNodes, "retire " + node + " --undo"},
		"keep " + node:   {"| get and patch nodes |", patchNodes, "keep " + node + " --undo"},
		"pause":          {"| get and patch ConfigMaps in `tidegate-system`; before the first start, create them |", patchConfigMaps, "resume"},
		"resume":         {"| get and patch ConfigMaps in `tidegate-system`; before the first start, create them |", patchConfigMaps, "pause"},
	} {
		t.Run(command, func(t *testing.T) {
			page, err := os.ReadFile("../../docs/commands.md")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(page), tc.row) {
				t.Errorf("the page does not say %q", tc.row)
			}
			name := strings.ReplaceAll(command, " ", "-")
			attempt := func(user string, rights []right) (string, error) {
				if tc.undo != "" {
					u.types(strings.Fields(tc.undo)...)
				}
				return u.as(t, user, rights, command)
			}
			u.eventually("its rights are enough for "+command, func() error {
				out, err := attempt(name, tc.rights)
				if err == nil && strings.Contains(out, "forbidden") {
					err = errors.New(out)
				}
				return err
			})
			for i, missing := range tc.rights {
				user := fmt.Sprintf("%s-without-%d", name, i)
				u.eventually(fmt.Sprintf("%s without the right to %s %s says so", command, missing.verb, missing.resource), func() error {
					out, err := attempt(user, slices.Delete(slices.Clone(tc.rights), i, i+1))
					said := unwrapped(fmt.Sprint(out, err))
					if !strings.Contains(said, "forbidden") || !strings.Contains(said, "cannot "+missing.verb+" resource \""+missing.resource) {
						return fmt.Errorf("it says %s", said)
					}
					return nil
				})
			}
			if tc.undo != "" {
				u.types(strings.Fields(tc.undo)...)
			}
		})
	}
	u.types("resume") // whichever came last
	u.ends("works")
	u.atRest()
}

// as runs a command as a user with just these rights, whom it makes the first
// time, and returns what the command says.
func (u *user) as(t *testing.T, name string, rights []right, command string) (string, error) {
	t.Helper()
	kubeconfig, err := u.Cluster.UserKubeconfig(name)
	if err != nil {
		t.Fatal(err)
	}
	subject := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}}
	rbac := u.Client.RbacV1()
	for i, r := range rights {
		rules := []rbacv1.PolicyRule{{Verbs: []string{r.verb}, APIGroups: []string{r.group}, Resources: []string{r.resource}}}
		if r.name != "" {
			rules[0].ResourceNames = []string{r.name}
		}
		meta := metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", name, i), Namespace: r.namespace}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name}
		if r.namespace == "" {
			_, err = rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
			if err == nil {
				_, err = rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subject}, metav1.CreateOptions{})
			}
		} else {
			ref.Kind = "Role"
			_, err = rbac.Roles(r.namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
			if err == nil {
				_, err = rbac.RoleBindings(r.namespace).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subject}, metav1.CreateOptions{})
			}
		}
		if client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	return u.Run(t.Context(), kubeconfig, strings.Fields(command)...)
}
