// Package certs tests Tidegate with cert-manager's own controllers and cainjector.
package certs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	certmanagerclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// patience is how long anything may take that is to happen.
const patience = time.Minute

// suite is what the tests share: a cluster with cert-manager and Tidegate's
// webhook and extender in it.
var suite struct {
	*rig.Rig
	certManager *certManager
	clients     certmanagerclient.Interface
	tidegate    *rig.Process
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		suite.Stop()
		suite.certManager.leave()
	}()
	return m.Run()
}

func start(ctx context.Context) (err error) {
	// cert-manager's own log is of interest only to its developers.
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	suite.certManager = &certManager{ctx: ctx}
	suite.Rig, err = rig.Start(ctx, rig.Options{
		Azure:        emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}},
		Certificates: suite.certManager,
	})
	if err != nil {
		return err
	}
	if suite.clients, err = certmanagerclient.NewForConfig(suite.Cluster.Config()); err != nil {
		return err
	}
	if suite.tidegate, err = suite.StartTidegate(rig.ProcessOptions{Args: []string{"--capacity=false"}}); err != nil {
		return err
	}
	return suite.tidegate.AwaitReady(ctx)
}

// certManager provides a rig with certificates.
type certManager struct {
	ctx     context.Context
	cluster *cluster.Cluster
	client  kubernetes.Interface
	stop    func()
	dirs    []string
	mounts  sync.WaitGroup
}

func (m *certManager) Install(ctx context.Context, c *cluster.Cluster) (err error) {
	m.cluster = c
	if m.client, err = kubernetes.NewForConfig(c.Config()); err != nil {
		return err
	}
	if err := installCRDs(ctx, c); err != nil {
		return err
	}
	m.stop, err = startCertManager(m.ctx, c)
	return err
}

// Mount does what a kubelet does for a volume of a Secret, with its own code
// and without its delay. A Secret that is gone leaves the volume as it is.
func (m *certManager) Mount(ctx context.Context, namespace, secret string) (string, error) {
	dir, err := os.MkdirTemp("", "tidegate-secret-")
	if err != nil {
		return "", err
	}
	m.dirs = append(m.dirs, dir)
	writer, err := volumeutil.NewAtomicWriter(dir, "e2e")
	if err != nil {
		return "", err
	}
	sync := func() error {
		s, err := m.client.CoreV1().Secrets(namespace).Get(m.ctx, secret, metav1.GetOptions{})
		if err != nil {
			return err
		}
		files := map[string]volumeutil.FileProjection{}
		for name, content := range s.Data {
			files[name] = volumeutil.FileProjection{Data: content, Mode: 0o600}
		}
		return writer.Write(files, nil)
	}
	if err := eventually(func() error { return sync() }); err != nil {
		return "", fmt.Errorf("mount Secret %s/%s: %w", namespace, secret, err)
	}
	m.mounts.Go(func() {
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-m.ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				_ = sync() // once it is there again
			}
		}
	})
	return dir, nil
}

// leave removes the volumes; everything else has ended.
func (m *certManager) leave() {
	m.stop()
	for _, dir := range m.dirs {
		_ = os.RemoveAll(dir)
	}
}

// eventually waits until the check has nothing to say, and else returns what it
// says last.
func eventually(check func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func wait(t *testing.T, what string, check func() error) {
	t.Helper()
	if err := eventually(check); err != nil {
		t.Fatalf("not within %s: %s; last: %v\n%s", patience, what, err, suite.tidegate.Webhook().Log())
	}
}

// secret returns the content of a Secret, nil while it is not there.
func secret(t *testing.T, namespace, name string) map[string][]byte {
	t.Helper()
	s, err := suite.Client.CoreV1().Secrets(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return s.Data
}

// issued waits for the certificate to be ready and returns it.
func issued(t *testing.T, namespace, name string) *cmapi.Certificate {
	t.Helper()
	var found *cmapi.Certificate
	wait(t, "certificate "+name+" is issued", func() (err error) {
		if found, err = suite.clients.CertmanagerV1().Certificates(namespace).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		ready := slices.ContainsFunc(found.Status.Conditions, func(c cmapi.CertificateCondition) bool {
			return c.Type == cmapi.CertificateConditionReady && c.Status == cmmeta.ConditionTrue
		})
		if !ready {
			return fmt.Errorf("its status is %+v", found.Status)
		}
		return nil
	})
	return found
}

// renew has cert-manager renew the certificate now, as its command line does,
// and waits until the Secret has the new one.
func renew(t *testing.T, namespace, name string) {
	t.Helper()
	before := secret(t, namespace, name)[corev1.TLSCertKey]
	// cert-manager may still be writing about the last issue.
	if err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		certificate := issued(t, namespace, name)
		now := metav1.Now()
		certificate.Status.Conditions = append(slices.DeleteFunc(certificate.Status.Conditions, func(c cmapi.CertificateCondition) bool {
			return c.Type == cmapi.CertificateConditionIssuing
		}), cmapi.CertificateCondition{
			Type: cmapi.CertificateConditionIssuing, Status: cmmeta.ConditionTrue, Reason: "ManuallyTriggered", Message: "by a test", LastTransitionTime: &now,
		})
		_, err := suite.clients.CertmanagerV1().Certificates(namespace).UpdateStatus(t.Context(), certificate, metav1.UpdateOptions{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the Secret has a new certificate", func() error {
		if after := secret(t, namespace, name)[corev1.TLSCertKey]; len(after) == 0 || bytes.Equal(after, before) {
			return fmt.Errorf("it has the old one")
		}
		return nil
	})
}

// gated creates a pod that opts in.
func gated(ctx context.Context, name string) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Annotations: map[string]string{api.GateKey: "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "work", Image: "work"}}},
	}
	created, err := suite.Client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if !api.HasCapacityGate(created) {
		return fmt.Errorf("pod %s was created without the gate", name)
	}
	return nil
}

// deletePods leaves the namespace empty.
func deletePods(t *testing.T) {
	t.Helper()
	// A request lives for a minute, in which a busy machine may not delete them all.
	none, deadline := int64(0), time.Now().Add(5*time.Minute)
	for {
		err := suite.Client.CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: &none}, metav1.ListOptions{})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Error(err)
			return
		}
	}
}
