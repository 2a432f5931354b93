package rig

import (
	"context"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

// Certificates are where Tidegate's certificates come from, if not from the
// rig's own cluster authority.
type Certificates interface {
	// Install is called before the manifests are applied.
	Install(ctx context.Context, c *cluster.Cluster) error
	// Mount returns the folder that has the Secret's content from when it exists
	// on, as a volume of a pod has it.
	Mount(ctx context.Context, namespace, secret string) (dir string, err error)
}

// certificates finds the folders that each workload reads its certificate from.
func (r *Rig) certificates(ctx context.Context) (err error) {
	if r.options.OwnCertificates {
		return nil
	}
	if from := r.options.Certificates; from != nil {
		if r.webhookCert, err = from.Mount(ctx, api.Namespace, webhookService); err != nil {
			return err
		}
		r.extenderCert, err = from.Mount(ctx, api.ServerNamespace, ExtenderName)
		return err
	}
	if r.webhookCert, err = r.Cluster.ServingCert("webhook-cert", r.WebhookName()); err != nil {
		return err
	}
	r.extenderCert, err = r.Cluster.ServingCert("extender-cert", ExtenderName)
	return err
}

// servingFlags are the flags by which a server finds its certificate.
func (r *Rig) servingFlags(flag, dir string) []string {
	if r.options.OwnCertificates {
		return []string{"--own-certificates"}
	}
	return []string{flag, dir}
}
