// Package owncerts gives Tidegate's servers certificates in clusters without
// cert-manager: an authority in a Secret that all replicas share, and in each
// process a certificate that it signs, renewed long before it ends and never
// stored.
package owncerts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// interval is how often everything is looked at again: somebody may have
	// applied the webhook configurations anew.
	interval = time.Minute
	// retry is how soon it is looked at again after a failure.
	retry = 5 * time.Second
	// callTimeout bounds one look.
	callTimeout = 20 * time.Second
)

// Keeper keeps one server's certificate.
type Keeper struct {
	Client kubernetes.Interface
	// Namespace and Secret are where the authority is.
	Namespace, Secret string
	// Host is the name in the server's certificate.
	Host string
	// Publish, if set, tells the server's clients of the authority, PEM encoded.
	// It is called again and again, and changes nothing if there is nothing to.
	Publish func(ctx context.Context, authority []byte) error
	// Now is the clock.
	Now func() time.Time
	Log logr.Logger

	current atomic.Pointer[tls.Certificate]
}

// GetCertificate is what tls.Config calls for each connection.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if certificate := k.current.Load(); certificate != nil {
		return certificate, nil
	}
	return nil, errors.New("there is no certificate yet: see the log")
}

// NeedLeaderElection says that every replica keeps its own.
func (k *Keeper) NeedLeaderElection() bool { return false }

// Start keeps the certificate until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	for {
		wait := interval
		if err := k.keep(ctx); err != nil && ctx.Err() == nil {
			k.Log.Error(err, "cannot keep the certificate; trying again", "host", k.Host)
			wait = retry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// keep looks at everything once and renews what is due.
func (k *Keeper) keep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := k.authority(ctx)
	if err != nil {
		return err
	}
	if k.Publish != nil {
		if err := k.Publish(ctx, a.pem); err != nil {
			return fmt.Errorf("publish the authority: %w", err)
		}
	}
	now := k.Now()
	if certificate := k.current.Load(); certificate != nil && a.signed(certificate.Leaf) && !due(certificate.Leaf, now) {
		return nil
	}
	certificate, err := a.sign(k.Host, now)
	if err != nil {
		return err
	}
	k.current.Store(certificate)
	k.Log.Info("certificate issued", "host", k.Host, "until", certificate.Leaf.NotAfter)
	return nil
}

// authority reads the authority, makes one where there is none, and renews one
// that is due. Its key stays as it is, so that whoever knows an earlier
// certificate of the authority trusts what a later one signs.
func (k *Keeper) authority(ctx context.Context) (*authority, error) {
	secrets := k.Client.CoreV1().Secrets(k.Namespace)
	secret, err := secrets.Get(ctx, k.Secret, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		a, err := newAuthority(k.Secret, nil, k.Now())
		if err != nil {
			return nil, err
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Secret}, Type: corev1.SecretTypeTLS, Data: a.data()}
		if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("keep the authority (another replica may have been first): %w", err)
		}
		return a, nil
	case err != nil:
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	a, err := parseAuthority(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("authority in Secret %s/%s: %w; delete it, and a new one is made", k.Namespace, k.Secret, err)
	}
	if !due(a.certificate, k.Now()) {
		return a, nil
	}
	if a, err = newAuthority(k.Secret, a.key, k.Now()); err != nil {
		return nil, err
	}
	secret.Data = a.data()
	if _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("renew the authority (another replica may have been first): %w", err)
	}
	return a, nil
}
