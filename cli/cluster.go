package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/manager"
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
	Pods       []corev1.Pod
	Jobs       []batchv1.Job
	DaemonSets []appsv1.DaemonSet
}

// Decision is what a leader would decide now. It fails if no leader has
// published what it knows of the pools.
func (c Cluster) Decision() (capacity.Decision, error) {
	const remedy = "it takes a leader that has read them once: tidegate status says whether there is one"
	if c.Published == nil {
		return capacity.Decision{}, errors.New("nothing is known of the pools: " + remedy)
	}
	basis, ok, err := manager.ParseBasis(c.Published)
	if err != nil {
		return capacity.Decision{}, fmt.Errorf("%w; is the leader of another version than this command?", err)
	}
	if !ok {
		return capacity.Decision{}, errors.New("nothing is known of the pools: " + remedy)
	}
	return manager.DryRun(c.Now, basis, c.Pods, c.Nodes, c.Jobs, c.DaemonSets), nil
}

// ReadCluster reads what the reports are made of. Nothing of Tidegate's being
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
	jobs, err := client.BatchV1().Jobs(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return c, readError("the Jobs of all namespaces", err)
	}
	c.Jobs = jobs.Items
	daemonSets, err := client.AppsV1().DaemonSets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return c, readError("the DaemonSets of all namespaces", err)
	}
	c.DaemonSets = daemonSets.Items
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
	next := "try again"
	var unreachable *url.Error
	switch {
	case apierrors.IsForbidden(err):
		next = "use a kubeconfig that may, or ask for that right"
	case apierrors.IsUnauthorized(err):
		next = "the cluster does not know who this kubeconfig is of: fetch a new one"
	case errors.As(err, &unreachable):
		next = "look whether the server that the kubeconfig names is up and reachable from here"
	}
	return fmt.Errorf("read %s: %w; %s", what, err, next)
}
