package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// credential is a managed identity whose failures say whose it is and what to
// do.
type credential struct {
	*azidentity.ManagedIdentityCredential
	identity string
	imds     string // base URL
}

// newCredential prepares the managed identity that the options select.
func newCredential(o Options, imds *imds, vm string) (*credential, error) {
	options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: policy.ClientOptions{
		Transport: &http.Client{Transport: imds},
		// azidentity's own six attempts take more than a minute, and this
		// caller asks again anyway.
		Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: time.Second, MaxRetryDelay: 4 * time.Second, TryTimeout: imdsTimeout},
	}}
	identity := "the system-assigned identity of VM " + vm
	switch {
	case o.ClientID != "":
		options.ID = azidentity.ClientID(o.ClientID)
		identity = "the user-assigned identity with client ID " + o.ClientID
	case o.ResourceID != "":
		options.ID = azidentity.ResourceID(o.ResourceID)
		identity = "the user-assigned identity " + o.ResourceID
	}
	mi, err := azidentity.NewManagedIdentityCredential(options)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", identity, err)
	}
	return &credential{mi, identity, imds.endpoint.String()}, nil
}

// GetToken asks IMDS for a token, or for a cached one.
func (c *credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := c.ManagedIdentityCredential.GetToken(ctx, o)
	if err != nil {
		return token, &accessError{
			sentence: fmt.Sprintf("IMDS at %s gives no token for %s; is the identity assigned to this VM?", c.imds, c.identity),
			err:      shortTokenError(err),
		}
	}
	return token, nil
}

// shortTokenError reduces azidentity's page of text to what IMDS said.
func shortTokenError(err error) error {
	if failed, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok && failed.RawResponse != nil {
		var doc struct {
			Description string `json:"error_description"`
		}
		if body, readErr := runtime.Payload(failed.RawResponse); readErr == nil && json.Unmarshal(body, &doc) == nil && doc.Description != "" {
			return fmt.Errorf("HTTP %s: %s", failed.RawResponse.Status, doc.Description)
		}
		return fmt.Errorf("HTTP %s", failed.RawResponse.Status)
	}
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}
