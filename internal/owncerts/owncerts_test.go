package owncerts

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/tidegate-k3s/tidegate/api"
)

const host = "server.example"

// world is a cluster and a clock.
type world struct {
	t      *testing.T
	client *fake.Clientset
	now    time.Time
}

func newWorld(t *testing.T) *world {
	return &world{t: t, client: fake.NewClientset(), now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
}

func (w *world) keeper() *Keeper {
	return &Keeper{
		Client: w.client, Namespace: "ns", Secret: "authority", Host: host,
		Now: func() time.Time { return w.now }, Log: logr.Discard(),
	}
}

func (w *world) keep(k *Keeper) *tls.Certificate {
	w.t.Helper()
	if err := k.keep(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	certificate, err := k.GetCertificate(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return certificate
}

// authority is the PEM text that clients are given.
func (w *world) authority() []byte {
	w.t.Helper()
	secret, err := w.client.CoreV1().Secrets("ns").Get(w.t.Context(), "authority", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return secret.Data[corev1.TLSCertKey]
}

// trusts reports whether a client that was given the authority trusts the
// certificate now.
func (w *world) trusts(authority []byte, certificate *tls.Certificate) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	_, err := certificate.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: w.now})
	return err
}

func TestReplicasShareTheAuthority(t *testing.T) {
	w := newWorld(t)
	first := w.keeper()
	if _, err := first.GetCertificate(nil); err == nil {
		t.Error("a certificate was there before the authority")
	}
	one, other := w.keep(first), w.keep(w.keeper())
	for name, certificate := range map[string]*tls.Certificate{"first": one, "second": other} {
		if err := w.trusts(w.authority(), certificate); err != nil {
			t.Errorf("certificate of the %s replica: %v", name, err)
		}
	}
	if bytes.Equal(one.Certificate[0], other.Certificate[0]) {
		t.Error("the replicas share a certificate, want one each")
	}
}

func TestCertificateIsRenewedInTime(t *testing.T) {
	w := newWorld(t)
	k := w.keeper()
	first := w.keep(k)
	w.now = w.now.Add(life/2 + time.Hour)
	if again := w.keep(k); again != first {
		t.Error("renewed after half of its life")
	}
	w.now = w.now.Add(life / 5)
	renewed := w.keep(k)
	if renewed == first {
		t.Fatal("not renewed with less than a third of its life left")
	}
	if err := w.trusts(w.authority(), renewed); err != nil {
		t.Error(err)
	}
}

// The scheduler reads the authority only when it starts.
func TestWhoKnowsAnEarlierAuthorityTrustsALaterOne(t *testing.T) {
	w := newWorld(t)
	k := w.keeper()
	w.keep(k)
	earlier := w.authority()
	w.now = w.now.Add(authorityLife * 3 / 4)
	certificate := w.keep(k)
	later := w.authority()
	if bytes.Equal(earlier, later) {
		t.Fatal("the authority was not renewed with a quarter of its life left")
	}
	for name, authority := range map[string][]byte{"earlier": earlier, "later": later} {
		if err := w.trusts(authority, certificate); err != nil {
			t.Errorf("the %s authority: %v", name, err)
		}
		if err := w.trusts(authority, w.keep(w.keeper())); err != nil {
			t.Errorf("the %s authority, a replica that starts later: %v", name, err)
		}
	}
}

func TestAnAuthorityThatIsReplacedIsFollowed(t *testing.T) {
	w := newWorld(t)
	k := w.keeper()
	first := w.keep(k)
	if err := w.client.CoreV1().Secrets("ns").Delete(t.Context(), "authority", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	second := w.keep(k)
	if err := w.trusts(w.authority(), first); err == nil {
		t.Error("the new authority has the old one's key")
	}
	if err := w.trusts(w.authority(), second); err != nil {
		t.Error(err)
	}
}

func TestBrokenSecret(t *testing.T) {
	w := newWorld(t)
	broken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "authority"}, Data: map[string][]byte{corev1.TLSCertKey: []byte("?")}}
	if _, err := w.client.CoreV1().Secrets("ns").Create(t.Context(), broken, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := w.keeper().keep(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Secret ns/authority: ") || !strings.Contains(err.Error(), "delete it, and a new one is made") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}

func TestAuthorityInWebhooks(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	admission := w.client.AdmissionregistrationV1()
	mutating := &admissionregv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: api.WebhookConfiguration},
		Webhooks:   []admissionregv1.MutatingWebhook{{Name: "a"}, {Name: "b", ClientConfig: admissionregv1.WebhookClientConfig{CABundle: []byte("old")}}},
	}
	validating := &admissionregv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: api.WebhookConfiguration},
		Webhooks:   []admissionregv1.ValidatingWebhook{{Name: "c"}},
	}
	publish := InWebhooks(w.client)
	if err := publish(ctx, []byte("new")); err == nil || !strings.Contains(err.Error(), "MutatingWebhookConfiguration tidegate") {
		t.Errorf("without configurations: %v, want an error that names them", err)
	}
	if _, err := admission.MutatingWebhookConfigurations().Create(ctx, mutating, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admission.ValidatingWebhookConfigurations().Create(ctx, validating, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := publish(ctx, []byte("new")); err != nil {
			t.Fatal(err)
		}
	}
	m, err := admission.MutatingWebhookConfigurations().Get(ctx, api.WebhookConfiguration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := admission.ValidatingWebhookConfigurations().Get(ctx, api.WebhookConfiguration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range [][]byte{m.Webhooks[0].ClientConfig.CABundle, m.Webhooks[1].ClientConfig.CABundle, v.Webhooks[0].ClientConfig.CABundle} {
		if string(got) != "new" {
			t.Errorf("a webhook trusts %q", got)
		}
	}
	patches := 0
	for _, action := range w.client.Actions() {
		if action.GetVerb() == "patch" {
			patches++
		}
	}
	if patches != 2 {
		t.Errorf("%d patches, want one of each configuration and none the second time", patches)
	}
}
