package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// defaultIMDS is the same on every Azure VM.
// Source: Azure documentation, "Azure Instance Metadata Service".
const defaultIMDS = "http://169.254.169.254"

// imdsTimeout bounds one question to IMDS, which answers from the host itself.
const imdsTimeout = 10 * time.Second

// Machine is the VM that Tidegate runs on, as IMDS describes it.
type Machine struct {
	SubscriptionID string `json:"subscriptionId"`
	ResourceGroup  string `json:"resourceGroupName"`
	Name           string `json:"name"`
	VMID           string `json:"vmId"`
	Location       string `json:"location"`
	// Environment names the cloud, such as AzurePublicCloud.
	Environment string `json:"azEnvironment"`
	// ScaleSet is the set that the VM belongs to, or empty.
	ScaleSet string `json:"vmScaleSetName"`
}

// imds is the instance metadata service.
type imds struct {
	endpoint *url.URL
	client   *http.Client
}

// newIMDS prepares the client. It sends nothing.
func newIMDS(o Options) (*imds, error) {
	endpoint, err := parseEndpoint(o.IMDSEndpoint, defaultIMDS)
	if err != nil {
		return nil, fmt.Errorf("IMDS endpoint: %w", err)
	}
	transport := o.Transport
	if transport == nil {
		// IMDS refuses requests that come through a proxy.
		transport = &http.Transport{DialContext: dialContext}
	}
	return &imds{endpoint, &http.Client{Transport: transport, Timeout: imdsTimeout}}, nil
}

// parseEndpoint reads the base URL of a service.
func parseEndpoint(value, absent string) (*url.URL, error) {
	if value == "" {
		value = absent
	}
	u, err := url.Parse(strings.TrimSuffix(value, "/"))
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%q: want a URL such as https://127.0.0.1:8443", value)
	}
	return u, nil
}

// machine asks which VM this is.
func (s *imds) machine(ctx context.Context) (Machine, error) {
	var doc struct {
		Compute Machine `json:"compute"`
	}
	if err := s.get(ctx, "/metadata/instance?api-version=2021-02-01", &doc); err != nil {
		return Machine{}, &accessError{
			sentence: fmt.Sprintf("the instance metadata service (IMDS) at %s does not say which VM this is; is this an Azure VM, and may this process reach the address?", s.endpoint),
			err:      err,
		}
	}
	m := doc.Compute
	if m.SubscriptionID == "" || m.ResourceGroup == "" || m.VMID == "" {
		return Machine{}, &accessError{sentence: fmt.Sprintf("the instance metadata service (IMDS) at %s names no subscription, resource group or VM ID; is it really IMDS that answers there?", s.endpoint)}
	}
	return m, nil
}

func (s *imds) get(ctx context.Context, path string, into any) error {
	body, err := s.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// send returns the body of a good answer.
func (s *imds) send(ctx context.Context, method, path string, content []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.endpoint.String()+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Metadata", "true")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %s: %.200s", resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// RoundTrip redirects azidentity's requests, whose address is built in, to the
// configured endpoint. Anything not meant for IMDS is refused: a token must
// come from nowhere else.
func (s *imds) RoundTrip(req *http.Request) (*http.Response, error) {
	if asked := req.URL.Scheme + "://" + req.URL.Host; asked != defaultIMDS {
		return nil, fmt.Errorf("managed identity wants a token from %s; only IMDS may give one: unset IDENTITY_ENDPOINT and its like", asked)
	}
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host, req.Host = s.endpoint.Scheme, s.endpoint.Host, s.endpoint.Host
	return s.client.Transport.RoundTrip(req)
}
