package rig

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Permissions compares what the Roles grant to a ServiceAccount ("namespace/name")
// with what it did, as the API servers' audit logs have it: unused is what it was
// granted and never asked for, refused what it asked for without being granted.
// (An API server that has just started refuses for a moment what is granted.)
func (r *Rig) Permissions(ctx context.Context, account string) (unused, refused []string, err error) {
	events, err := r.Cluster.Audit()
	if err != nil {
		return nil, nil, err
	}
	user := "system:serviceaccount:" + strings.ReplaceAll(account, "/", ":")
	events = slices.DeleteFunc(events, func(e auditv1.Event) bool {
		return e.User.Username != user || e.ObjectRef == nil || e.ResponseStatus == nil
	})
	if len(events) == 0 {
		return nil, nil, fmt.Errorf("the audit logs have no request of %s", account)
	}
	allowed := slices.DeleteFunc(slices.Clone(events), func(e auditv1.Event) bool {
		return e.ResponseStatus.Code == http.StatusForbidden && e.ResponseStatus.Reason == metav1.StatusReasonForbidden
	})
	grants, err := r.grants(ctx, account)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range events {
		granted := slices.ContainsFunc(grants, func(g grant) bool { return g.covers(e) })
		if e.ResponseStatus.Code == http.StatusForbidden && !granted {
			refused = append(refused, fmt.Sprintf("%s %s: %s", e.Verb, e.RequestURI, e.ResponseStatus.Message))
		}
	}
	for _, g := range grants {
		if !slices.ContainsFunc(allowed, g.covers) {
			unused = append(unused, g.String())
		}
	}
	return unused, refused, nil
}

// grant is one verb on one resource, as one rule of a Role gives it.
type grant struct {
	role, namespace       string // the namespace is empty for a ClusterRole
	group, resource, verb string
	name                  string // the one object, empty for all
}

func (g grant) String() string {
	return strings.Join(strings.Fields(fmt.Sprintf("%s: %s %s %s %s", g.role, g.verb, g.group, g.resource, g.name)), " ")
}

// covers reports whether the request needed the grant.
func (g grant) covers(e auditv1.Event) bool {
	resource, subresource, _ := strings.Cut(g.resource, "/")
	o := e.ObjectRef
	return e.Verb == g.verb && o.APIGroup == g.group && o.Resource == resource && o.Subresource == subresource &&
		(g.namespace == "" || o.Namespace == g.namespace) && (g.name == "" || o.Name == g.name)
}

// grants are those of every Role that is bound to the account.
func (r *Rig) grants(ctx context.Context, account string) ([]grant, error) {
	rbac := r.Client.RbacV1()
	var grants []grant
	clusterBindings, err := rbac.ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, b := range clusterBindings.Items {
		if !names(b.Subjects, account) {
			continue
		}
		role, err := rbac.ClusterRoles().Get(ctx, b.RoleRef.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		grants = append(grants, split("ClusterRole "+role.Name, "", role.Rules)...)
	}
	bindings, err := rbac.RoleBindings(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, b := range bindings.Items {
		if !names(b.Subjects, account) {
			continue
		}
		role, err := rbac.Roles(b.Namespace).Get(ctx, b.RoleRef.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		grants = append(grants, split("Role "+b.Namespace+"/"+role.Name, b.Namespace, role.Rules)...)
	}
	return grants, nil
}

func names(subjects []rbacv1.Subject, account string) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		return s.Kind == rbacv1.ServiceAccountKind && s.Namespace+"/"+s.Name == account
	})
}

func split(role, namespace string, rules []rbacv1.PolicyRule) (grants []grant) {
	for _, rule := range rules {
		objects := rule.ResourceNames
		if len(objects) == 0 {
			objects = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, object := range objects {
						grants = append(grants, grant{role, namespace, group, resource, verb, object})
					}
				}
			}
		}
	}
	return grants
}
