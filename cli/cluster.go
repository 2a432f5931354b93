package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	runtimeclient "sigs.k8s.io/controller-runtime/pkg/client"

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
	Volumes    []corev1.PersistentVolume
	// Others are namespaces and what else there is of volumes.
	Others []runtimeclient.Object
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
	others := slices.Clone(c.Others)
	for i := range c.Volumes {
		others = append(others, &c.Volumes[i])
	}
	return manager.DryRun(c.Now, basis, c.Pods, c.Nodes, c.Jobs, c.DaemonSets, others), nil
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
	volumes, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return c, readError("the volumes", err)
	}
	c.Volumes = volumes.Items
	if c.Others, err = readOthers(ctx, client); err != nil {
		return c, err
	}
	c.Now = now()
	return c, nil
}

// readOthers reads what else decides where pods fit.
func readOthers(ctx context.Context, client kubernetes.Interface) ([]runtimeclient.Object, error) {
	var all metav1.ListOptions
	var others []runtimeclient.Object
	for _, kind := range []struct {
		what string
		list func() (runtime.Object, error)
	}{
		{"the namespaces", func() (runtime.Object, error) { return client.CoreV1().Namespaces().List(ctx, all) }},
		{"the volume claims of all namespaces", func() (runtime.Object, error) {
			return client.CoreV1().PersistentVolumeClaims(metav1.NamespaceAll).List(ctx, all)
		}},
		{"the storage classes", func() (runtime.Object, error) { return client.StorageV1().StorageClasses().List(ctx, all) }},
		{"the volume drivers", func() (runtime.Object, error) { return client.StorageV1().CSIDrivers().List(ctx, all) }},
		{"the storage capacities of all namespaces", func() (runtime.Object, error) {
			return client.StorageV1().CSIStorageCapacities(metav1.NamespaceAll).List(ctx, all)
		}},
		{"the nodes' volume drivers", func() (runtime.Object, error) { return client.StorageV1().CSINodes().List(ctx, all) }},
		{"the volumes' attachments", func() (runtime.Object, error) { return client.StorageV1().VolumeAttachments().List(ctx, all) }},
	} {
		list, err := kind.list()
		if err != nil {
			return nil, readError(kind.what, err)
		}
		err = meta.EachListItem(list, func(o runtime.Object) error {
			others = append(others, o.(runtimeclient.Object)) // as every kind of the API is
			return nil
		})
		if err != nil {
			return nil, readError(kind.what, err)
		}
	}
	return others, nil
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
