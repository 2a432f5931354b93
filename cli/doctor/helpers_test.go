package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/cli"
	"github.com/tidegate-k3s/tidegate/manifests"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// patient is a cluster with these objects, of which the manifests were applied.
func patient(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) Patient {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := cmapi.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	applied, err := manifests.Objects()
	if err != nil {
		t.Fatal(err)
	}
	return Patient{
		Client:  fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(funcs).Build(),
		Server:  Server{Version: "v1.37.2", Time: noon},
		Cluster: cli.Cluster{Now: noon},
		Objects: applied,
	}
}

// manifest is an applied object, changed.
func manifest[T client.Object](t *testing.T, kind, name string, into T, change ...func(T)) T {
	t.Helper()
	p := patient(t, interceptor.Funcs{})
	if err := p.decode(kind, name, into); err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(into)
	}
	return into
}

// expect compares a finding with a verdict and texts of its detail and its fix.
func expect(t *testing.T, got Finding, verdict Verdict, detail, fix string) {
	t.Helper()
	if got.Verdict != verdict || !strings.Contains(got.Detail, detail) || !strings.Contains(got.Fix, fix) {
		t.Errorf("found %+v, want %s, %q and the fix %q", got, verdict, detail, fix)
	}
	if (got.Verdict == OK) != (got.Fix == "") {
		t.Errorf("found %+v: what is not ok has a fix, what is has none", got)
	}
}

// authorityFor returns an authority and a certificate that it signed for the
// name, which runs out an hour after noon.
func authorityFor(t *testing.T, name string) (ca, leaf []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour),
	}
	served := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: root.NotBefore, NotAfter: root.NotAfter}
	sign := func(template *x509.Certificate) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, root, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return sign(root), sign(served)
}
