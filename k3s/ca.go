package k3s

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io/fs"
	"time"

	"k8s.io/client-go/util/cert"
)

// checkCA judges the file of the extender's authority.
func (f files) checkCA(name string, now time.Time) *Finding {
	fix := reinstall
	if name != "/"+ExtenderCA {
		fix = "name /" + ExtenderCA + ", which tidegate k3s install writes"
	}
	text, found := f.read("tlsConfig.caFile", name, fix)
	if found != nil {
		return found
	}
	if err := validCA(text, now); err != nil {
		return &Finding{name, err.Error(), fix}
	}
	if f.authority == nil {
		return nil
	}
	if err := trusts(text, f.authority, now); err != nil {
		return &Finding{name, fmt.Sprintf("the extender's authority in the cluster is another one, so that the scheduler asks in vain: %v", err),
			fix + ", and restart k3s: its scheduler reads the file only when it starts"}
	}
	return nil
}

// trusts returns why whoever trusts the authorities of a PEM file does not
// trust another one.
func trusts(text, authority []byte, now time.Time) error {
	known, err := cert.ParseCertsPEM(text)
	if err != nil {
		return err
	}
	certificates, err := cert.ParseCertsPEM(authority)
	if err != nil {
		return err
	}
	today := certificates[0]
	roots := x509.NewCertPool()
	for _, c := range known {
		// One that was renewed and has kept its key: what it signs is signed by both.
		if bytes.Equal(c.RawSubject, today.RawSubject) && bytes.Equal(c.RawSubjectPublicKeyInfo, today.RawSubjectPublicKeyInfo) {
			return nil
		}
		roots.AddCert(c)
	}
	_, err = today.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now})
	return err
}

// validCA returns why a PEM file does not name authorities that are valid now.
func validCA(text []byte, now time.Time) error {
	authorities, err := cert.ParseCertsPEM(text)
	if err != nil {
		return err
	}
	for _, authority := range authorities {
		switch {
		case !authority.IsCA:
			return fmt.Errorf("%s is no certificate authority", authority.Subject)
		case now.After(authority.NotAfter):
			return fmt.Errorf("%s has expired on %s", authority.Subject, authority.NotAfter.Format(time.DateOnly))
		case now.Before(authority.NotBefore):
			return fmt.Errorf("%s is not valid before %s: is the server's clock right?", authority.Subject, authority.NotBefore.Format(time.DateTime))
		}
	}
	return nil
}

// readNamed reads a file that another one names by its absolute path.
func readNamed(server fs.FS, name string) ([]byte, error) {
	if len(name) < 2 || name[0] != '/' {
		return nil, fmt.Errorf("%q is no absolute path", name)
	}
	return fs.ReadFile(server, name[1:])
}
