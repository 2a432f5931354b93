package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli/doctor"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

const webhookCertificate = "tidegate-webhook"

// From the manifests alone cert-manager issues the certificates and writes the
// authority into the webhook configurations, and a pod is gated.
func TestIssuedInjectedGated(t *testing.T) {
	t.Cleanup(func() { deletePods(t) })
	issued(t, api.Namespace, webhookCertificate)
	issued(t, api.ServerNamespace, rig.ExtenderName)
	authority := secret(t, api.Namespace, "tidegate-ca")[corev1.TLSCertKey]
	wait(t, "every webhook trusts the authority", func() error {
		if found := bundles(t); len(found) != 1 || !found[string(authority)] {
			return fmt.Errorf("they trust %q", slices.Collect(maps.Keys(found)))
		}
		return nil
	})
	if err := gated(t.Context(), "first"); err != nil {
		t.Error(err)
	}
	// Other checks fail: nothing decides here, and no pods run.
	found, err := suite.Doctor(t.Context(), suite.Cluster.Kubeconfig)
	for check, want := range map[string]string{"certificates": "4 are issued and fresh", "authority": "trust what the webhook serves with", "webhook": "is gated"} {
		if got := found[check]; got.Verdict != doctor.OK || !strings.Contains(got.Detail, want) {
			t.Errorf("tidegate doctor finds %s %+v, want %q (%v)", check, got, want, err)
		}
	}
}

// bundles are the distinct authorities of the webhook configurations.
func bundles(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	mutating, err := suite.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "tidegate", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range mutating.Webhooks {
		found[string(w.ClientConfig.CABundle)] = true
	}
	validating, err := suite.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "tidegate", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range validating.Webhooks {
		found[string(w.ClientConfig.CABundle)] = true
	}
	return found
}

// While 5,000 pods are created the certificate is renewed again and again, and
// no creation fails.
func TestRenewalDuringCreations(t *testing.T) {
	const pods, workers, renewals = 5000, 8, 3
	t.Cleanup(func() { deletePods(t) })
	var next atomic.Int64
	var failures sync.Map
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for {
				n := next.Add(1)
				if n > pods {
					return
				}
				if err := gated(t.Context(), fmt.Sprintf("stream-%d", n)); err != nil {
					failures.Store(n, err)
				}
			}
		})
	}
	served := map[string]bool{}
	for renewal := range int64(renewals) {
		for next.Load() < (renewal+1)*pods/(renewals+1) {
			time.Sleep(10 * time.Millisecond)
		}
		renew(t, api.Namespace, webhookCertificate)
		served[awaitServed(t)] = true
		if n := next.Load(); n > pods {
			t.Errorf("renewal %d was after the last creation", renewal+1)
		}
	}
	done.Wait()
	failures.Range(func(n, err any) bool {
		t.Errorf("creation %d failed: %v", n, err)
		return true
	})
	if len(served) != renewals {
		t.Errorf("%d new certificates were served, want %d", len(served), renewals)
	}
}

// awaitServed waits until the webhook serves the certificate of its Secret, and
// returns its serial number.
func awaitServed(t *testing.T) string {
	t.Helper()
	block, _ := pem.Decode(secret(t, api.Namespace, webhookCertificate)[corev1.TLSCertKey])
	wait(t, "the webhook serves the new certificate", func() error {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(secret(t, api.Namespace, "tidegate-ca")[corev1.TLSCertKey])
		conn, err := tls.Dial("tcp", suite.WebhookAddress(), &tls.Config{RootCAs: roots, ServerName: suite.WebhookName()})
		if err != nil {
			return err
		}
		defer conn.Close()
		if !bytes.Equal(conn.ConnectionState().PeerCertificates[0].Raw, block.Bytes) {
			return fmt.Errorf("it serves the old one")
		}
		return nil
	})
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate.SerialNumber.String()
}

// A Secret that somebody deletes comes back, and admission never stops.
func TestSecretDeleted(t *testing.T) {
	t.Cleanup(func() { deletePods(t) })
	before := secret(t, api.Namespace, webhookCertificate)[corev1.TLSCertKey]
	if err := suite.Client.CoreV1().Secrets(api.Namespace).Delete(t.Context(), webhookCertificate, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	created := 0
	wait(t, "the Secret is back", func() error {
		created++
		if err := gated(t.Context(), fmt.Sprintf("meanwhile-%d", created)); err != nil {
			t.Errorf("meanwhile: %v", err)
		}
		if after := secret(t, api.Namespace, webhookCertificate)[corev1.TLSCertKey]; len(after) == 0 || bytes.Equal(after, before) {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	awaitServed(t)
	if err := gated(t.Context(), "afterwards"); err != nil {
		t.Error(err)
	}
}

// The authority that tidegate k3s install takes from the cluster is that of the
// extender's certificate, and stays so when the certificate, and even the
// authority's own, is renewed: the scheduler reads it only when it starts.
func TestExtenderAuthorityOutlivesRenewals(t *testing.T) {
	roots, err := suite.InstallOnServer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	serves := func() []byte {
		t.Helper()
		certificate, err := suite.ExtenderCertificate(roots)
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	last := serves()
	renewed := func(name string) {
		t.Helper()
		renew(t, api.ServerNamespace, name)
		renew(t, api.ServerNamespace, rig.ExtenderName)
		wait(t, "the extender serves the new certificate", func() error {
			now := serves()
			if bytes.Equal(now, last) {
				return fmt.Errorf("it serves the old one")
			}
			last = now
			return nil
		})
	}
	renewed(rig.ExtenderName)
	renewed(api.ExtenderCASecret)
}

// Without cert-manager everything goes on for as long as the certificates are
// good: for a month at least.
func TestCertManagerGoes(t *testing.T) {
	t.Cleanup(func() { deletePods(t) })
	suite.certManager.stop()
	if err := gated(t.Context(), "without"); err != nil {
		t.Error(err)
	}
	for namespace, name := range map[string]string{api.Namespace: webhookCertificate, api.ServerNamespace: rig.ExtenderName} {
		certificate := issued(t, namespace, name)
		if left := certificate.Status.NotAfter.Sub(certificate.Status.RenewalTime.Time); left < 30*24*time.Hour {
			t.Errorf("certificate %s may be %s late, want 30 days", name, left)
		}
	}
	var err error
	if suite.certManager.stop, err = startCertManager(suite.certManager.ctx, suite.Cluster); err != nil {
		t.Fatal(err)
	}
	renew(t, api.Namespace, webhookCertificate)
	awaitServed(t)
}

// In a cluster that never had cert-manager the installation says what is
// missing; until it is there, pods that opted in are refused at once with a
// sentence that names the webhook, and nobody else notices. When it comes, to
// repeat the installation is enough, and everything runs. The log says how long each of that takes.
func TestCertManagerNeverThere(t *testing.T) {
	c, err := cluster.Start(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	install := func() (string, error) { return c.Kubectl(t.Context(), "apply", "-k", "../../manifests") }
	out, err := install()
	for _, want := range []string{`no matches for kind "Certificate"`, "ensure CRDs are installed first", "validatingadmissionpolicy.admissionregistration.k8s.io/tidegate-fence created"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("kubectl apply says %v, want %q in\n%s", err, want, out)
		}
	}
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: default, annotations: {%s}}\nspec: {containers: [{name: work, image: work}]}\n"
	wait(t, "the namespace takes pods", func() error {
		_, err := c.Apply(context.WithoutCancel(t.Context()), fmt.Sprintf(pod, "plain", ""))
		return err
	})
	wait(t, "an opted-in pod is refused", func() error { // once the API server knows the webhooks
		start := time.Now()
		out, err := c.Kubectl(t.Context(), "run", "opted-in", "--image=work", "--annotations="+api.GateKey+"=true", "--dry-run=server")
		if err == nil || !strings.Contains(out, `failed calling webhook "gate.tidegate.io"`) {
			return fmt.Errorf("%v: %s", err, out)
		}
		took := time.Since(start)
		t.Logf("without cert-manager kubectl is refused after %s: %s", took.Round(time.Millisecond), strings.TrimSpace(out))
		if took > 5*time.Second {
			t.Error("a refusal should not keep anybody waiting")
		}
		return nil
	})
	if out, err := c.Apply(t.Context(), fmt.Sprintf(pod, "plain-too", "")); err != nil {
		t.Errorf("a pod that did not opt in is refused: %v: %s", err, out)
	}

	suite.certManager.stop() // there is one in a process at a time
	t.Cleanup(func() {
		var err error
		if suite.certManager.stop, err = startCertManager(suite.certManager.ctx, suite.Cluster); err != nil {
			t.Error(err)
		}
	})
	if err := installCRDs(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	stop, err := startCertManager(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	came := time.Now()
	if out, err := install(); err != nil {
		t.Fatalf("to repeat the installation is not enough: %v\n%s", err, out)
	}
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the webhook has a certificate that the API server trusts", func() error {
		secret, err := client.CoreV1().Secrets(api.Namespace).Get(t.Context(), webhookCertificate, metav1.GetOptions{})
		if err != nil {
			return err
		}
		configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), api.WebhookConfiguration, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, w := range configuration.Webhooks {
			if !bytes.Equal(w.ClientConfig.CABundle, secret.Data["ca.crt"]) || len(w.ClientConfig.CABundle) == 0 {
				return fmt.Errorf("%s trusts %q", w.Name, w.ClientConfig.CABundle)
			}
		}
		return nil
	})
	t.Logf("with cert-manager the certificates are there and trusted %s after the installation is repeated", time.Since(came).Round(time.Millisecond))

	// All that is applied then has its pods on a server, as its namespaces allow.
	if err := rig.AddServerNode(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	wait(t, "the workloads run", func() error {
		webhook, err := client.AppsV1().Deployments(api.Namespace).Get(t.Context(), api.WebhookService, metav1.GetOptions{})
		if err != nil {
			return err
		}
		server, err := client.AppsV1().DaemonSets(api.ServerNamespace).Get(t.Context(), "tidegate", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if webhook.Status.ReadyReplicas != *webhook.Spec.Replicas || server.Status.NumberReady != 1 {
			return fmt.Errorf("the webhook's Deployment is %+v, the servers' DaemonSet %+v", webhook.Status, server.Status)
		}
		return nil
	})
}
