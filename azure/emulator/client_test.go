package emulator_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

// world is an emulator and the way to it.
type world struct {
	cloud *emulator.Cloud
	// imds and arm are base URLs, http reaches both and nothing else.
	imds, arm string
	http      *http.Client
}

// virtual is an emulator without a network; in a synctest bubble its time is
// virtual. Tokens live too short for azidentity's process-wide cache, so that
// no test sees another's.
func virtual(t *testing.T, cfg emulator.Config) *world {
	t.Helper()
	if cfg.TokenLifetime.Duration == 0 {
		cfg.TokenLifetime = metav1.Duration{Duration: 4 * time.Minute}
	}
	c, err := emulator.NewCloud(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &world{cloud: c, imds: "http://imds.test", arm: "https://arm.test", http: &http.Client{Transport: inMemory{
		"imds.test": c.IMDSHandler(),
		"arm.test":  c.ARMHandler(),
	}}}
}

// served is an emulator behind real sockets and TLS.
func served(t *testing.T, cfg emulator.Config) *world {
	t.Helper()
	s, err := emulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.CAPEM()) {
		t.Fatal("the emulator's CA is not a certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &world{cloud: s.Cloud(), imds: s.IMDSEndpoint(), arm: s.ARMEndpoint(), http: &http.Client{Transport: transport}}
}

// inMemory calls handlers by host name.
type inMemory map[string]http.Handler

func (m inMemory) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	handler, ok := m[req.URL.Host]
	if !ok {
		return nil, fmt.Errorf("a test sends a request to %s", req.URL.Host)
	}
	defer func() {
		if r := recover(); r == http.ErrAbortHandler {
			resp, err = nil, io.ErrUnexpectedEOF
		} else if r != nil {
			panic(r)
		}
	}()
	in := req.Clone(req.Context())
	in.Host, in.RequestURI = req.URL.Host, req.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, in)
	resp = recorder.Result()
	resp.Request = req
	return resp, nil
}

// realIMDS is where azidentity sends its requests whatever one configures.
const realIMDS = "169.254.169.254"

// toEmulator sends what is meant for the real IMDS to the emulated one, and
// refuses to send anything anywhere else.
type toEmulator struct{ *world }

func (to toEmulator) Do(r *http.Request) (*http.Response, error) {
	if r.URL.Host != realIMDS {
		return nil, fmt.Errorf("a test sends a request to %s", r.URL.Host)
	}
	emulated, err := http.NewRequestWithContext(r.Context(), r.Method, to.imds+r.URL.RequestURI(), r.Body)
	if err != nil {
		return nil, err
	}
	emulated.Header = r.Header
	return to.http.Do(emulated)
}

// noRetry lets a test see each answer.
var noRetry = policy.RetryOptions{MaxRetries: -1}

// credential is azidentity's own, unmodified but for its transport.
func (w *world) credential(t *testing.T, id azidentity.ManagedIDKind) azcore.TokenCredential {
	t.Helper()
	cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ID:            id,
		ClientOptions: azcore.ClientOptions{Transport: toEmulator{w}, Retry: noRetry},
	})
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

// clients are the SDK's own, unmodified but for their endpoint and the CA that
// they trust.
func (w *world) clients(t *testing.T, id azidentity.ManagedIDKind) (*armcompute.VirtualMachineScaleSetsClient, *armcompute.VirtualMachineScaleSetVMsClient) {
	t.Helper()
	f, err := armcompute.NewClientFactory(subscription, w.credential(t, id), &arm.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: w.arm, Audience: "https://management.azure.com"},
			}},
			Transport: w.http,
			Retry:     noRetry,
		},
		DisableRPRegistration: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f.NewVirtualMachineScaleSetsClient(), f.NewVirtualMachineScaleSetVMsClient()
}
