package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
)

// readCertificates returns cert-manager's Certificates in Tidegate's
// namespaces. An error for which meta.IsNoMatchError holds means that
// cert-manager is not in the cluster.
func (p Patient) readCertificates(ctx context.Context) ([]cmapi.Certificate, error) {
	var found []cmapi.Certificate
	for _, o := range p.Objects {
		if o.GetKind() != "Namespace" {
			continue
		}
		var list cmapi.CertificateList
		if err := p.Client.List(ctx, &list, client.InNamespace(o.GetName())); err != nil {
			return nil, err
		}
		found = append(found, list.Items...)
	}
	return found, nil
}

// certificates asks whether cert-manager has issued what Tidegate serves with,
// and keeps it fresh, or Tidegate what it issues itself.
func certificates(ctx context.Context, p Patient) Finding {
	if p.way == withOwnCertificates || p.way == withAdmissionPolicy {
		return ownAuthorities(ctx, p)
	}
	list, err := p.readCertificates(ctx)
	if err != nil && !meta.IsNoMatchError(err) {
		return unread("cert-manager's Certificates", err)
	}
	// A Secret that a Certificate has left behind is served with until it runs
	// out: that all is well now says nothing.
	hooks, err := p.readHooks(ctx)
	if err != nil {
		return unread("the webhook configurations", err)
	}
	for _, h := range hooks {
		from := h.annotations[cmapi.WantInjectAnnotation]
		there := slices.ContainsFunc(list, func(c cmapi.Certificate) bool { return c.Namespace+"/"+c.Name == from })
		if from != "" && !there {
			return failed("install cert-manager, then "+p.way.reinstall(), "the webhook's authority is to come from the Certificate %s, and there is none", from)
		}
	}
	if len(list) == 0 {
		return ok("cert-manager is not used")
	}
	var wrong []string
	for i := range list {
		if trouble := certificateTrouble(&list[i], p.Server.Time); trouble != "" {
			wrong = append(wrong, fmt.Sprintf("%s/%s %s", list[i].Namespace, list[i].Name, trouble))
		}
	}
	slices.Sort(wrong)
	if len(wrong) > 0 {
		return failed("kubectl describe certificate shows what cert-manager waits for; cmctl status certificate tells the rest", "%s", strings.Join(wrong, "; "))
	}
	return ok("%d are issued and fresh", len(list))
}

// ownAuthorities asks whether the authorities are there that Tidegate makes and
// renews by itself.
func ownAuthorities(ctx context.Context, p Patient) Finding {
	const fix = "Tidegate makes and renews it within a minute while it runs: kubectl logs -n %s %s says what hinders it"
	for _, a := range []struct{ namespace, secret, workload string }{
		{api.ServerNamespace, api.ExtenderCASecret, "daemonset/tidegate"},
		{api.Namespace, api.WebhookCASecret, "deployment/" + api.WebhookService},
	} {
		if a.namespace == api.Namespace && p.way == withAdmissionPolicy {
			continue // there is no webhook
		}
		fix := fmt.Sprintf(fix, a.namespace, a.workload)
		var secret corev1.Secret
		err := p.Client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: a.secret}, &secret)
		if apierrors.IsNotFound(err) {
			return failed(fix, "there is no authority yet in Secret %s/%s", a.namespace, a.secret)
		}
		if err != nil {
			return unread("Secret "+a.namespace+"/"+a.secret, err)
		}
		certificate, err := leafOf(secret.Data[corev1.TLSCertKey])
		switch {
		case err != nil:
			return failed("delete it, and Tidegate makes a new one; then run tidegate k3s install on every server", "Secret %s/%s: %v", a.namespace, a.secret, err)
		case p.Server.Time.After(certificate.NotAfter):
			return failed(fix, "the authority in Secret %s/%s ran out on %s", a.namespace, a.secret, certificate.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	return ok("Tidegate issues its own; cert-manager is not used")
}

// renewalGrace is how long cert-manager may be late with a renewal before
// somebody should look: it tries again within an hour.
const renewalGrace = 2 * time.Hour

func certificateTrouble(c *cmapi.Certificate, now time.Time) string {
	if c.Status.NotAfter != nil && now.After(c.Status.NotAfter.Time) {
		return "ran out on " + c.Status.NotAfter.UTC().Format(time.DateOnly)
	}
	ready := slices.IndexFunc(c.Status.Conditions, func(c cmapi.CertificateCondition) bool { return c.Type == cmapi.CertificateConditionReady })
	switch {
	case ready < 0:
		return "has not been looked at by cert-manager"
	case c.Status.Conditions[ready].Status != cmmeta.ConditionTrue:
		return "is not ready: " + c.Status.Conditions[ready].Message
	case c.Status.RenewalTime != nil && now.After(c.Status.RenewalTime.Add(renewalGrace)):
		return "should have been renewed on " + c.Status.RenewalTime.UTC().Format(time.DateOnly)
	}
	return ""
}

// hook is one webhook of a configuration that is in the cluster.
type hook struct {
	name        string
	annotations map[string]string
	config      admissionv1.WebhookClientConfig
}

// readHooks returns the webhooks of Tidegate's configurations.
func (p Patient) readHooks(ctx context.Context) ([]hook, error) {
	var hooks []hook
	for _, o := range p.Objects {
		key := client.ObjectKeyFromObject(o)
		switch o.GetKind() {
		case "MutatingWebhookConfiguration":
			var c admissionv1.MutatingWebhookConfiguration
			if err := client.IgnoreNotFound(p.Client.Get(ctx, key, &c)); err != nil {
				return nil, err
			}
			for _, h := range c.Webhooks {
				hooks = append(hooks, hook{h.Name, c.Annotations, h.ClientConfig})
			}
		case "ValidatingWebhookConfiguration":
			var c admissionv1.ValidatingWebhookConfiguration
			if err := client.IgnoreNotFound(p.Client.Get(ctx, key, &c)); err != nil {
				return nil, err
			}
			for _, h := range c.Webhooks {
				hooks = append(hooks, hook{h.Name, c.Annotations, h.ClientConfig})
			}
		}
	}
	return hooks, nil
}

// authority asks whether the authority in the webhook configurations is the one
// that signed what the webhook serves with, and likewise that of the extender.
func authority(ctx context.Context, p Patient) Finding {
	fix := "let cert-manager's cainjector write it anew: kubectl -n cert-manager logs deploy/cert-manager-cainjector"
	if p.way == withOwnCertificates {
		fix = "Tidegate's webhook writes it anew within a minute: kubectl logs -n " + api.Namespace + " deployment/" + api.WebhookService
	}
	hooks, err := p.readHooks(ctx)
	if err != nil {
		return unread("the webhook configurations", err)
	}
	if len(hooks) == 0 {
		return ok("no webhook is configured")
	}
	served, err := p.served(ctx)
	if err != nil {
		return unread("the certificates that the webhook serves with", err)
	}
	for _, h := range hooks {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(h.config.CABundle) {
			return failed(fix, "webhook %s has no authority, so that the API server trusts nobody", h.name)
		}
		if h.config.Service == nil {
			continue
		}
		name := fmt.Sprintf("%s.%s.svc", h.config.Service.Name, h.config.Service.Namespace)
		chain, known := served[name]
		if !known {
			continue // not issued: the check of the certificates tells of it
		}
		if p.way == withOwnCertificates {
			name = "" // what is known of those is the authority itself
		}
		if err := verify(chain, roots, name, p.Server.Time); err != nil {
			return failed(fix, "webhook %s does not trust what %s serves with: %v", h.name, h.config.Service.Name, err)
		}
	}
	// cert-manager issues nothing anew because its authority is another one.
	roots := x509.NewCertPool()
	if chain, known := served[api.ExtenderHost]; known && roots.AppendCertsFromPEM(extenderAuthority(ctx, p)) {
		if err := verify(chain, roots, api.ExtenderHost, p.Server.Time); err != nil {
			return failed("have it issued anew: kubectl delete secret -n "+api.ServerNamespace+" "+api.ExtenderHost,
				"the extender serves with a certificate that is not of its authority, so that schedulers ask in vain: %v", err)
		}
	}
	return ok("the configurations trust what the webhook serves with")
}

// served returns what the names of services are served with, in PEM: the chains
// that cert-manager issued, or the authority that Tidegate issues certificates
// of its own with.
func (p Patient) served(ctx context.Context) (map[string][]byte, error) {
	chains := map[string][]byte{}
	add := func(namespace, secret string, names ...string) error {
		var s corev1.Secret
		err := p.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: secret}, &s)
		if err == nil {
			for _, name := range names {
				chains[name] = s.Data[corev1.TLSCertKey]
			}
		}
		return client.IgnoreNotFound(err)
	}
	if p.way == withOwnCertificates {
		return chains, add(api.Namespace, api.WebhookCASecret, api.WebhookService+"."+api.Namespace+".svc")
	}
	list, err := p.readCertificates(ctx)
	if meta.IsNoMatchError(err) {
		return chains, nil
	}
	for _, c := range list {
		if err := add(c.Namespace, c.Spec.SecretName, c.Spec.DNSNames...); err != nil {
			return nil, err
		}
	}
	return chains, err
}

func verify(chain []byte, roots *x509.CertPool, name string, now time.Time) error {
	leaf, err := leafOf(chain)
	if err != nil {
		return err
	}
	intermediates := x509.NewCertPool()
	intermediates.AppendCertsFromPEM(chain)
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: intermediates, CurrentTime: now})
	return err
}

// leafOf reads the first certificate of a chain.
func leafOf(chain []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil, errors.New("its Secret holds no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}
