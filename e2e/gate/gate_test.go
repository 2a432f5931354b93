// Package gate tests, on real API servers, that pods get the gate that they
// opted in to, whatever the way in which Tidegate was installed.
package gate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/keyutil"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/cli/doctor"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// The namespaces of the tests.
const (
	plainNamespace = "plain"
	optedNamespace = "opted"
)

const foreignGate = "kueue.x-k8s.io/admission"

// Without cert-manager Tidegate issues its certificates itself.
func TestOwnCertificates(t *testing.T) {
	r := install(t, "overlays/own-certificates")
	p := run(t, r)
	gates(t, r)
	extenderIsTrusted(t, r)

	// Whoever applies the manifests anew takes the authority out of them, and
	// authorities grow old.
	mutating := r.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	configuration, err := mutating.Get(t.Context(), api.WebhookConfiguration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range configuration.Webhooks {
		configuration.Webhooks[i].ClientConfig.CABundle = nil
	}
	if _, err := mutating.Update(t.Context(), configuration, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{api.Namespace: api.WebhookCASecret, api.ServerNamespace: api.ExtenderCASecret}
	old := oldAuthority(t)
	for namespace, name := range secrets {
		secret, err := r.Client.CoreV1().Secrets(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secret.Data = old
		if _, err := r.Client.CoreV1().Secrets(namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, p, 2*time.Minute, func() error {
		var authority []byte
		for namespace, name := range secrets {
			secret, err := r.Client.CoreV1().Secrets(namespace).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if bytes.Equal(secret.Data[corev1.TLSCertKey], old[corev1.TLSCertKey]) {
				return fmt.Errorf("Secret %s still has the old authority", name)
			}
			if namespace == api.Namespace {
				authority = secret.Data[corev1.TLSCertKey]
			}
		}
		configuration, err := mutating.Get(t.Context(), api.WebhookConfiguration, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, w := range configuration.Webhooks {
			if !bytes.Equal(w.ClientConfig.CABundle, authority) {
				return fmt.Errorf("%s trusts %q", w.Name, w.ClientConfig.CABundle)
			}
		}
		return nil
	})
	gates(t, r)
	extenderIsTrusted(t, r)
	leastPrivilege(t, r, "-certificates:", rig.ServerAccount, rig.WebhookAccount)
}

// oldAuthority is the content of a Secret with an authority of whose life less
// than a third is left.
func oldAuthority(t *testing.T) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old"},
		NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: keyPEM,
	}
}

// With a policy in the place of the webhook the API server does it alone.
func TestAdmissionPolicy(t *testing.T) {
	r := install(t, "overlays/admission-policy")
	gates(t, r)
	if out, err := r.Cluster.Kubectl(t.Context(), "apply", "--filename", "../../manifests/components/prometheus/rbac.yaml"); err != nil {
		t.Fatal(err, out)
	}
	p := run(t, r, "--webhook=false", "--metrics-secure")
	extenderIsTrusted(t, r)
	metricsAreForReaders(t, r, p)
	doctorFinds(t, r, map[string]doctor.Verdict{"fence": "ok", "agents": "ok", "webhook": "ok", "certificates": "ok", "authority": "ok"})

	out, err := r.Cluster.Kubectl(t.Context(), "run", "unclear", "--namespace="+plainNamespace, "--image=work", "--annotations="+api.GateKey+"=yes", "--dry-run=server")
	if want := `Warning: annotation tidegate.io/gate="yes": want "true" or "false", the value is ignored`; err != nil || !strings.Contains(strings.ReplaceAll(out, "Validation failed for ValidatingAdmissionPolicy 'tidegate-unclear-gate' with binding 'tidegate-unclear-gate': ", ""), want) {
		t.Errorf("kubectl says %q, %v, want %q", out, err, want)
	}
}

// metricsAreForReaders asks for the metrics as Prometheus does whom
// components/prometheus has told how, and as others might.
func metricsAreForReaders(t *testing.T, r *rig.Rig, p *rig.Process) {
	t.Helper()
	ca, err := r.Client.CoreV1().Secrets(api.ServerNamespace).Get(t.Context(), api.ExtenderCASecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Data[corev1.TLSCertKey])
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: api.ExtenderHost}}}
	defer client.CloseIdleConnections()
	address := strings.TrimPrefix(p.MetricsURL, "http://")
	ask := func(token string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	token := func(account string, args ...string) string {
		t.Helper()
		for _, line := range append([]string{"create serviceaccount " + account + " -n default"}, args...) {
			if out, err := r.Cluster.Kubectl(t.Context(), strings.Fields(line)...); err != nil {
				t.Fatal(err, out)
			}
		}
		out, err := r.Cluster.Kubectl(t.Context(), "create", "token", account, "-n", "default")
		if err != nil {
			t.Fatal(err, out)
		}
		return strings.TrimSpace(out)
	}
	reader := token("reader", "create clusterrole reads-metrics --verb=get --non-resource-url=/metrics",
		"create clusterrolebinding reads-metrics --clusterrole=reads-metrics --serviceaccount=default:reader")
	eventually(t, p, 20*time.Second, func() error { // Roles come with a delay
		if status, text := ask(reader); status != http.StatusOK || !strings.Contains(text, "go_goroutines") {
			return fmt.Errorf("a reader gets %d: %s", status, text)
		}
		return nil
	})
	if status, text := ask(token("stranger")); status != http.StatusForbidden {
		t.Errorf("somebody without the right gets %d: %s", status, text)
	}
	for _, bad := range []string{"", "nonsense"} {
		if status, text := ask(bad); status != http.StatusUnauthorized {
			t.Errorf("token %q gets %d: %s", bad, status, text)
		}
	}
	if status, text := p.Metrics(t.Context()); status == http.StatusOK {
		t.Errorf("without TLS somebody gets %d: %s", status, text)
	}
	leastPrivilege(t, r, "tidegate-metrics:", rig.ServerAccount)
}

// doctorFinds compares some of the verdicts of tidegate doctor, none of whose fixes
// may be about cert-manager, which is not there.
func doctorFinds(t *testing.T, r *rig.Rig, want map[string]doctor.Verdict) {
	t.Helper()
	findings, err := r.Doctor(t.Context(), r.Cluster.Kubeconfig)
	if len(findings) == 0 {
		t.Fatal(err) // it ends with an error if a check fails
	}
	got := map[string]doctor.Verdict{}
	for check, f := range findings {
		if _, asked := want[check]; asked {
			got[check] = f.Verdict
		}
		if strings.Contains(f.Fix, "cert-manager") {
			t.Errorf("%s is to be mended so: %s", check, f.Fix)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

// install sets up a cluster with one of the overlays.
func install(t *testing.T, overlay string) *rig.Rig {
	t.Helper()
	r, err := rig.Start(t.Context(), rig.Options{
		Azure:   emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}},
		Overlay: overlay, OwnCertificates: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	for name, labels := range map[string]map[string]string{plainNamespace: nil, optedNamespace: {api.GateKey: "true"}} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		if _, err := r.Client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// run starts Tidegate without its capacity manager.
func run(t *testing.T, r *rig.Rig, args ...string) *rig.Process {
	t.Helper()
	p, err := r.StartTidegate(rig.ProcessOptions{Args: append(args, "--capacity=false")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func gates(t *testing.T, r *rig.Rig) {
	job := metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: "job", UID: "1", Controller: new(true)}
	daemonSet := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "daemons", UID: "2", Controller: new(true)}
	otherJob := job
	otherJob.APIVersion = "batch.volcano.sh/v1alpha1"
	for name, tc := range map[string]struct {
		namespace string
		says      string
		owner     *metav1.OwnerReference
		node      string
		mirror    bool
		gates     []string
		want      []string
	}{
		"opted in":                            {says: "true", want: []string{api.CapacityGate}},
		"opted out":                           {says: "false"},
		"nothing said":                        {},
		"unclear":                             {says: "yes"},
		"another's gate stays":                {says: "true", gates: []string{foreignGate}, want: []string{foreignGate, api.CapacityGate}},
		"already gated":                       {says: "true", gates: []string{api.CapacityGate, foreignGate}, want: []string{api.CapacityGate, foreignGate}},
		"names its node":                      {says: "true", node: rig.ServerNode},
		"a DaemonSet's":                       {says: "true", owner: &daemonSet},
		"a mirror pod":                        {says: "true", node: rig.ServerNode, mirror: true},
		"a Job's, nobody opted in":            {owner: &job},
		"in kube-system":                      {namespace: metav1.NamespaceSystem, says: "true"},
		"by namespace: a Job's":               {namespace: optedNamespace, owner: &job, want: []string{api.CapacityGate}},
		"by namespace: a Job's that opts out": {namespace: optedNamespace, says: "false", owner: &job},
		"by namespace: a Job's, unclear":      {namespace: optedNamespace, says: "yes", owner: &job, want: []string{api.CapacityGate}},
		"by namespace: nobody's":              {namespace: optedNamespace},
		"by namespace: nobody's, opted in":    {namespace: optedNamespace, says: "true", want: []string{api.CapacityGate}},
		"by namespace: another kind of Job":   {namespace: optedNamespace, owner: &otherJob},
		"by namespace: with a node":           {namespace: optedNamespace, owner: &job, node: rig.ServerNode},
	} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "pod", Annotations: map[string]string{}},
			Spec:       corev1.PodSpec{NodeName: tc.node, Containers: []corev1.Container{{Name: "work", Image: "work"}}},
		}
		if tc.says != "" {
			pod.Annotations[api.GateKey] = tc.says
		}
		if tc.mirror {
			pod.Annotations[corev1.MirrorPodAnnotationKey] = "hash"
		}
		if tc.owner != nil {
			pod.OwnerReferences = []metav1.OwnerReference{*tc.owner}
		}
		for _, gate := range tc.gates {
			pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: gate})
		}
		namespace := tc.namespace
		if namespace == "" {
			namespace = plainNamespace
		}
		var got []string
		check := func() error {
			created, err := r.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				return err
			}
			got = nil
			for _, gate := range created.Spec.SchedulingGates {
				got = append(got, gate.Name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				return fmt.Errorf("gates (-want +got):\n%s", diff)
			}
			return nil
		}
		t.Run(name, func(t *testing.T) { eventually(t, nil, 20*time.Second, check) }) // policies and service accounts come with a delay
	}
}

// extenderIsTrusted checks what the scheduler of a k3s server would see that
// was told of the authority by tidegate k3s install.
func extenderIsTrusted(t *testing.T, r *rig.Rig) {
	t.Helper()
	roots, err := r.InstallOnServer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ExtenderCertificate(roots); err != nil {
		t.Error(err)
	}
}

// leastPrivilege checks that the accounts were refused nothing, and needed all
// that the Roles of that name grant. The other Roles are judged where all is
// exercised that needs them.
func leastPrivilege(t *testing.T, r *rig.Rig, roles string, accounts ...string) {
	t.Helper()
	for _, account := range accounts {
		unused, refused, err := r.Permissions(t.Context(), account)
		if err != nil || len(refused) > 0 {
			t.Errorf("ServiceAccount %s was refused %q, %v", account, refused, err)
		}
		for _, grant := range unused {
			if strings.Contains(grant, roles) {
				t.Errorf("ServiceAccount %s did not need %s", account, grant)
			}
		}
	}
}

func eventually(t *testing.T, p *rig.Process, patience time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log := ""
			if p != nil {
				log = p.Log()
			}
			t.Fatalf("not within %s; last: %v\n%s", patience, err, log)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
