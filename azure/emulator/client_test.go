package emulator_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

const (
	subscription = "00000000-0000-4000-8000-000000000001"
	group        = "tidegate"
)

// fast is a configuration in which nothing takes long.
func fast(sets ...emulator.ScaleSet) emulator.Config {
	for i := range sets {
		sets[i].BootTime = emulator.Between(20*time.Millisecond, 40*time.Millisecond)
	}
	return emulator.Config{
		ScaleSets:  sets,
		DeleteTime: emulator.Between(10*time.Millisecond, 20*time.Millisecond),
		PollAfter:  metav1.Duration{Duration: time.Second},
	}
}

// start serves the configuration until the test ends.
func start(t *testing.T, cfg emulator.Config) *emulator.Server {
	t.Helper()
	s, err := emulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// toEmulator sends what is meant for the real IMDS to the emulated one, and
// refuses to send anything anywhere else.
type toEmulator struct{ imds *url.URL }

func (tr toEmulator) Do(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "169.254.169.254" {
		panic("a test sends a request to " + r.URL.Host)
	}
	r = r.Clone(r.Context())
	r.URL.Host, r.Host = tr.imds.Host, tr.imds.Host
	return http.DefaultTransport.RoundTrip(r)
}

// credential is azidentity's own, unmodified but for its transport.
func credential(t *testing.T, s *emulator.Server, id azidentity.ManagedIDKind) azcore.TokenCredential {
	t.Helper()
	imds, err := url.Parse(s.IMDSEndpoint())
	if err != nil {
		t.Fatal(err)
	}
	cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ID: id,
		ClientOptions: azcore.ClientOptions{
			Transport: toEmulator{imds},
			Retry:     policy.RetryOptions{MaxRetries: -1},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

// httpClient trusts the emulator's CA and nothing else.
func httpClient(t *testing.T, s *emulator.Server) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.CAPEM()) {
		t.Fatal("the emulator's CA is not a certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// clientFactory makes the SDK's own clients, unmodified but for their endpoint
// and the CA that they trust. They do not retry, so that a test sees each answer.
func clientFactory(t *testing.T, s *emulator.Server, cred azcore.TokenCredential) *armcompute.ClientFactory {
	t.Helper()
	f, err := armcompute.NewClientFactory(subscription, cred, &arm.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: s.ARMEndpoint(), Audience: "https://management.azure.com"},
			}},
			Transport: httpClient(t, s),
			Retry:     policy.RetryOptions{MaxRetries: -1},
		},
		DisableRPRegistration: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// clients returns the two clients for the system-assigned identity.
func clients(t *testing.T, s *emulator.Server) (*armcompute.VirtualMachineScaleSetsClient, *armcompute.VirtualMachineScaleSetVMsClient) {
	t.Helper()
	f := clientFactory(t, s, credential(t, s, nil))
	return f.NewVirtualMachineScaleSetsClient(), f.NewVirtualMachineScaleSetVMsClient()
}
