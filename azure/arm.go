package azure

import (
	"context"
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

const (
	// armTryTimeout bounds one attempt at one request to ARM.
	armTryTimeout = 30 * time.Second
	// retryDelay is before the first repetition of a request; it grows.
	retryDelay = 500 * time.Millisecond
)

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
				MaxRetries: 2, RetryDelay: retryDelay, MaxRetryDelay: 5 * time.Second, TryTimeout: armTryTimeout,
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

// mayRepeat says which attempts at a read the SDK makes again. 401 is among them
// because a token may expire on its way; the SDK drops it and the next attempt
// takes a fresh one. 429 is not: see throttle.
func mayRepeat(resp *http.Response, err error) bool {
	return err != nil || mayRepeatWrite(resp, err) || faulty(resp.StatusCode)
}

// mayRepeatWrite repeats only what was surely not carried out. Whether a write
// without an answer was carried out has to be found out first; and an instance
// ID that was checked may name another machine by the second attempt.
func mayRepeatWrite(resp *http.Response, err error) bool {
	return err == nil && resp.StatusCode == http.StatusUnauthorized
}

// writing lets the SDK repeat no write that may have been carried out.
func writing(ctx context.Context) context.Context {
	return policy.WithRetryOptions(ctx, policy.RetryOptions{
		MaxRetries: 2, RetryDelay: retryDelay, TryTimeout: armTryTimeout, ShouldRetry: mayRepeatWrite,
	})
}

// faulty reports whether an answer says nothing but that Azure, or something on
// the way to it, has a fault at present.
func faulty(status int) bool {
	return status == http.StatusRequestTimeout || status >= http.StatusInternalServerError
}
