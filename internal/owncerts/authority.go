package owncerts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	// authorityLife is long, because the scheduler reads the authority only when
	// it starts; life is that of what the authority signs.
	authorityLife = 10 * 365 * 24 * time.Hour
	life          = 30 * 24 * time.Hour
	// skew is how far a client's clock may be behind.
	skew = 5 * time.Minute
)

// due reports whether a third of the certificate's life, or less, is left.
func due(certificate *x509.Certificate, now time.Time) bool {
	return certificate.NotAfter.Sub(now) <= certificate.NotAfter.Sub(certificate.NotBefore)/3
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	pem, keyPEM []byte
}

// newAuthority makes an authority with the key, or with a new one.
func newAuthority(name string, key crypto.Signer, now time.Time) (*authority, error) {
	if key == nil {
		fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		key = fresh
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	certificate, err := create(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	a := &authority{certificate: certificate, key: key}
	if a.pem, err = cert.EncodeCertificates(certificate); err != nil {
		return nil, fmt.Errorf("encode the authority: %w", err)
	}
	if a.keyPEM, err = keyutil.MarshalPrivateKeyToPEM(key); err != nil {
		return nil, fmt.Errorf("encode the authority's key: %w", err)
	}
	return a, nil
}

// data is the content of the authority's Secret.
func (a *authority) data() map[string][]byte {
	return map[string][]byte{corev1.TLSCertKey: a.pem, corev1.TLSPrivateKeyKey: a.keyPEM}
}

func parseAuthority(data map[string][]byte) (*authority, error) {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("it holds no certificate authority")
	}
	return &authority{certificate: pair.Leaf, key: key, pem: data[corev1.TLSCertKey], keyPEM: data[corev1.TLSPrivateKeyKey]}, nil
}

// signed reports whether the certificate is one of the authority's.
func (a *authority) signed(certificate *x509.Certificate) bool {
	return certificate.CheckSignatureFrom(a.certificate) == nil
}

// sign issues a certificate for a server of that name, with a key of its own.
func (a *authority) sign(host string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	leaf, err := create(&x509.Certificate{
		Subject:     pkix.Name{CommonName: host},
		DNSNames:    []string{host},
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func create(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", template.Subject, err)
	}
	return x509.ParseCertificate(der)
}
