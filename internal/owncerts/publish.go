package owncerts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/api"
)

// InWebhooks returns a Keeper.Publish that writes the authority into the webhook
// configurations.
func InWebhooks(client kubernetes.Interface) func(context.Context, []byte) error {
	mutating := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	validating := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	options := metav1.PatchOptions{FieldManager: api.ManagedBy}
	return func(ctx context.Context, authority []byte) error {
		m, err := mutating.Get(ctx, api.WebhookConfiguration, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read MutatingWebhookConfiguration %s: %w", api.WebhookConfiguration, err)
		}
		stale := map[string][]byte{}
		for _, w := range m.Webhooks {
			stale[w.Name] = w.ClientConfig.CABundle
		}
		if patch := bundlePatch(stale, authority); patch != nil {
			if _, err := mutating.Patch(ctx, m.Name, types.StrategicMergePatchType, patch, options); err != nil {
				return fmt.Errorf("patch MutatingWebhookConfiguration %s: %w", m.Name, err)
			}
		}
		v, err := validating.Get(ctx, api.WebhookConfiguration, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read ValidatingWebhookConfiguration %s: %w", api.WebhookConfiguration, err)
		}
		clear(stale)
		for _, w := range v.Webhooks {
			stale[w.Name] = w.ClientConfig.CABundle
		}
		if patch := bundlePatch(stale, authority); patch != nil {
			if _, err := validating.Patch(ctx, v.Name, types.StrategicMergePatchType, patch, options); err != nil {
				return fmt.Errorf("patch ValidatingWebhookConfiguration %s: %w", v.Name, err)
			}
		}
		return nil
	}
}

// bundlePatch is the strategic merge patch that gives every webhook the
// authority, nil if each has it.
func bundlePatch(bundles map[string][]byte, authority []byte) []byte {
	type clientConfig struct {
		CABundle []byte `json:"caBundle"`
	}
	type webhook struct {
		Name         string       `json:"name"` // the list's merge key
		ClientConfig clientConfig `json:"clientConfig"`
	}
	var webhooks []webhook
	for name, bundle := range bundles {
		if !bytes.Equal(bundle, authority) {
			webhooks = append(webhooks, webhook{name, clientConfig{authority}})
		}
	}
	if webhooks == nil {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"webhooks": webhooks})
	if err != nil {
		panic(err) // its types always encode
	}
	return patch
}
