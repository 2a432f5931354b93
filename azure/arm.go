package azure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// dialContext opens every connection of this package, so that its tests can
// forbid all but loopback.
var dialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext

// armTryTimeout bounds one attempt at one request to ARM.
const armTryTimeout = 30 * time.Second

// clouds are the values of IMDS's azEnvironment, in lower case.
// Source: Azure documentation, "Azure Instance Metadata Service", azEnvironment.
var clouds = map[string]cloud.Configuration{
	"azurepubliccloud":       cloud.AzurePublic,
	"azureusgovernmentcloud": cloud.AzureGovernment,
	"azurechinacloud":        cloud.AzureChina,
}

// newARMHTTP prepares the HTTP client for ARM. It sends nothing.
func newARMHTTP(o Options) (*http.Client, error) {
	if o.ARMEndpoint != "" {
		u, err := parseEndpoint(o.ARMEndpoint, "")
		if err != nil {
			return nil, fmt.Errorf("ARM endpoint: %w", err)
		}
		if u.Scheme != "https" {
			return nil, fmt.Errorf("ARM endpoint: %q: want https, because tokens are sent to it", o.ARMEndpoint)
		}
	}
	if o.Transport != nil {
		return &http.Client{Transport: o.Transport}, nil
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(o.ARMCA) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(o.ARMCA) {
			return nil, errors.New("ARM CA: no certificate in PEM form found")
		}
	}
	return &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     90 * time.Second,
	}}, nil
}

// newConnection prepares the clients for the machine's cloud.
func (c *Cloud) newConnection(m Machine) (*connection, error) {
	conf, ok := clouds[strings.ToLower(m.Environment)]
	if !ok {
		return nil, &accessError{sentence: fmt.Sprintf("IMDS says azEnvironment %q; known are AzurePublicCloud, AzureUSGovernmentCloud and AzureChinaCloud", m.Environment)}
	}
	service := conf.Services[cloud.ResourceManager]
	if c.options.ARMEndpoint != "" {
		service.Endpoint = strings.TrimSuffix(c.options.ARMEndpoint, "/")
		conf.Services = map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: service}
	}
	cred, err := newCredential(c.options, c.imds, m.Name)
	if err != nil {
		return nil, err
	}
	factory, err := armcompute.NewClientFactory(m.SubscriptionID, cred, &arm.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud:     conf,
			Transport: c.armHTTP,
			Telemetry: policy.TelemetryOptions{ApplicationID: "tidegate"},
			Retry: policy.RetryOptions{
				MaxRetries: 2, RetryDelay: 500 * time.Millisecond, MaxRetryDelay: 5 * time.Second, TryTimeout: armTryTimeout,
				ShouldRetry: mayRepeat,
			},
			PerCallPolicies: []policy.Policy{&throttle{}},
		},
		// Virtual Machine Contributor may not register resource providers.
		DisableRPRegistration: true,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the client for %s: %w", service.Endpoint, err)
	}
	return &connection{
		machine:  m,
		identity: cred.identity,
		arm:      service.Endpoint,
		sets:     factory.NewVirtualMachineScaleSetsClient(),
		vms:      factory.NewVirtualMachineScaleSetVMsClient(),
		skus:     factory.NewResourceSKUsClient(),
		usages:   factory.NewUsageClient(),
	}, nil
}

// mayRepeat says which attempts the SDK makes again. 401 is among them because
// a token may expire on its way; the SDK drops it and the next attempt takes a
// fresh one. 429 is not: see throttle. A PATCH that was carried out although
// its answer was lost is harmless to repeat, because its If-Match then fails.
func mayRepeat(resp *http.Response, err error) bool {
	if err != nil {
		return true
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// mayRepeatDelete repeats only what was surely not carried out: an instance ID
// is checked once, and by the second attempt it may name another machine.
func mayRepeatDelete(resp *http.Response, err error) bool {
	return err == nil && resp.StatusCode == http.StatusUnauthorized
}
