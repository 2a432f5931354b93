package cli

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/api"
)

// Cluster is what the reports are made of.
type Cluster struct {
	// Now is when it was read.
	Now time.Time
	// Published is the ConfigMap that the leader publishes in; nil if there is
	// none.
	Published *corev1.ConfigMap
	// Status is what Published holds.
	Status api.Status
	// Lease is the leader's; nil if there is none.
	Lease *coordinationv1.Lease
	Nodes []corev1.Node
	// Pods are those that are not finished.
	Pods []corev1.Pod
}

// ReadCluster reads what status and explain show. Nothing of Tidegate's being
// there is not an error: the reports say so.
func ReadCluster(ctx context.Context, client kubernetes.Interface, now func() time.Time) (Cluster, error) {
	var c Cluster
	published, err := readPublished(ctx, client)
	if err != nil {
		return c, err
	}
	c.Published = published
	if published != nil {
		if c.Status, err = api.ParseStatus(published); err != nil {
			return c, fmt.Errorf("%w; the leader writes it anew when it starts: is it of another version than this command?", err)
		}
	}
	lease, err := client.CoordinationV1().Leases(api.Namespace).Get(ctx, api.LeaseName, metav1.GetOptions{})
	switch {
	case err == nil:
		c.Lease = lease
	case !apierrors.IsNotFound(err):
		return c, readError("the leader's Lease "+api.Namespace+"/"+api.LeaseName, err)
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return c, readError("the nodes", err)
	}
	c.Nodes = nodes.Items
	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: fields.AndSelectors(
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	).String()})
	if err != nil {
		return c, readError("the pods of all namespaces", err)
	}
	c.Pods = pods.Items
	c.Now = now()
	return c, nil
}

// readPublished returns the ConfigMap that the leader publishes in, nil if
// there is none.
func readPublished(ctx context.Context, client kubernetes.Interface) (*corev1.ConfigMap, error) {
	published, err := client.CoreV1().ConfigMaps(api.Namespace).Get(ctx, api.StatusConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, readError("ConfigMap "+api.Namespace+"/"+api.StatusConfigMap, err)
	}
	return published, nil
}

// readError says what to do about a read that failed.
func readError(what string, err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("read %s: %w; use a kubeconfig that may, or ask for that right", what, err)
	}
	return fmt.Errorf("read %s: %w", what, err)
}
