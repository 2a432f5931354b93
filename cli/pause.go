package cli

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/api"
)

// confirmation is how long the leader may take to say that it has noticed; it
// needs a fraction of a second.
const confirmation = 10 * time.Second

// Pause has Tidegate only observe, waits until the leader says that it does,
// and returns a sentence about it.
func Pause(ctx context.Context, client kubernetes.Interface) (string, error) {
	if err := setObserveOnly(ctx, client, "true"); err != nil {
		return "", err
	}
	const paused = "paused: nothing is bought, released or retired until tidegate resume; pods at the gate stay there"
	if why := unconfirmed(ctx, client, true); why != "" {
		return paused + ". But " + why, nil
	}
	return paused, nil
}

// Resume takes Pause back, waits until the leader says that it acts again, and
// returns a sentence about it.
func Resume(ctx context.Context, client kubernetes.Interface) (string, error) {
	if err := setObserveOnly(ctx, client, nil); err != nil {
		return "", err
	}
	if why := unconfirmed(ctx, client, false); why != "" {
		return "resumed, but " + why, nil
	}
	return "resumed", nil
}

// setObserveOnly sets the annotation, or removes it if the value is nil.
func setObserveOnly(ctx context.Context, client kubernetes.Interface, value any) error {
	configMaps := client.CoreV1().ConfigMaps(api.Namespace)
	err := annotate(map[string]any{api.ObserveOnlyAnnotation: value}, "", func(patch []byte) error {
		_, err := configMaps.Patch(ctx, api.StatusConfigMap, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
	if apierrors.IsNotFound(err) && value != nil {
		configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: api.Namespace, Name: api.StatusConfigMap, Annotations: map[string]string{api.ObserveOnlyAnnotation: fmt.Sprint(value)},
		}}
		_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	}
	switch {
	case apierrors.IsNotFound(err) && value != nil:
		return fmt.Errorf("there is no namespace %s: install Tidegate first: %w", api.Namespace, err)
	case apierrors.IsNotFound(err):
		return nil // nothing is paused
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; use a kubeconfig that may patch ConfigMaps in %s", err, api.Namespace)
	case err != nil:
		return fmt.Errorf("annotate ConfigMap %s/%s: %w", api.Namespace, api.StatusConfigMap, err)
	}
	return nil
}

// unconfirmed waits for the leader's own word, and says why there is none; "" if
// there is.
func unconfirmed(ctx context.Context, client kubernetes.Interface, observeOnly bool) string {
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, confirmation, true, func(ctx context.Context) (bool, error) {
		published, err := readPublished(ctx, client)
		if err != nil || published == nil {
			return false, err
		}
		status, err := api.ParseStatus(published)
		return status.ObserveOnly == observeOnly, err
	})
	switch {
	case err == nil:
		return ""
	case wait.Interrupted(err):
		return fmt.Sprintf("the leader has not confirmed that within %s: tidegate status says whether there is one, and whether it runs with --observe-only", confirmation)
	}
	return fmt.Sprintf("whether the leader has confirmed that is not known: %v", err)
}
