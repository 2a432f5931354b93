package doctor

import (
	"context"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
)

// way is how Tidegate was installed: the folder of the kustomization.
type way string

const (
	withCertManager     way = "manifests"
	withOwnCertificates way = "manifests/overlays/own-certificates"
	withAdmissionPolicy way = "manifests/overlays/admission-policy"
)

// findWay judges by what there is. What cannot be read or was taken away leaves
// the way that most clusters take.
func findWay(ctx context.Context, c client.Client) way {
	name := client.ObjectKey{Name: api.GatePolicy}
	for _, o := range []client.Object{&admissionv1.MutatingAdmissionPolicy{}, &admissionv1.MutatingAdmissionPolicyBinding{}} {
		if c.Get(ctx, name, o) == nil {
			return withAdmissionPolicy
		}
	}
	var webhook appsv1.Deployment
	if c.Get(ctx, client.ObjectKey{Namespace: api.Namespace, Name: api.WebhookService}, &webhook) == nil {
		for _, container := range webhook.Spec.Template.Spec.Containers {
			if slices.Contains(container.Args, "--own-certificates") {
				return withOwnCertificates
			}
		}
	}
	return withCertManager
}

// reinstall is the fix for what was taken away or changed.
func (w way) reinstall() string {
	if w == "" {
		w = withCertManager
	}
	return "apply the manifests again, or your own kustomization of them: kubectl apply -k " + string(w)
}
