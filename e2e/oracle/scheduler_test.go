package oracle

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	schedulercache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"
)

// kubeScheduler is kube-scheduler's framework with the default profile over one
// cluster. Its informers are never started: what they would have seen is put
// into their stores.
type kubeScheduler struct {
	framework.Framework
	current *current
	cluster *cluster
	placed  []placed
}

// placed is a pod that was put on a node, with the state of its cycle.
type placed struct {
	pod, bound *corev1.Pod
	state      fwk.CycleState
}

// current lets the pods change while the framework stays.
type current struct{ *schedulercache.Snapshot }

// defaultProfile is the profile of a scheduler without a configuration.
func defaultProfile() (*config.KubeSchedulerProfile, error) {
	var versioned configv1.KubeSchedulerConfiguration
	scheme.Scheme.Default(&versioned)
	var cfg config.KubeSchedulerConfiguration
	if err := scheme.Scheme.Convert(&versioned, &cfg, nil); err != nil {
		return nil, fmt.Errorf("default the scheduler's configuration: %w", err)
	}
	return &cfg.Profiles[0], nil
}

func newScheduler(ctx context.Context, c *cluster) (*kubeScheduler, error) {
	metrics.Register()
	profile, err := defaultProfile()
	if err != nil {
		return nil, err
	}
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	devices, err := tracker.StartTracker(ctx, tracker.Options{SliceInformer: factory.Resource().V1().ResourceSlices(), KubeClient: client})
	if err != nil {
		return nil, fmt.Errorf("track the resource slices: %w", err)
	}
	claims := assumecache.NewAssumeCache(klog.FromContext(ctx), factory.Resource().V1().ResourceClaims().Informer(), "ResourceClaim", "", nil)
	s := &kubeScheduler{current: &current{}, cluster: c}
	s.observe()
	s.Framework, err = frameworkruntime.NewFramework(ctx, plugins.NewInTreeRegistry(), profile,
		frameworkruntime.WithClientSet(client),
		frameworkruntime.WithInformerFactory(factory),
		frameworkruntime.WithSnapshotSharedLister(s.current),
		frameworkruntime.WithSharedDRAManager(dynamicresources.NewDRAManager(ctx, claims, devices, factory)),
		frameworkruntime.WithSharedCSIManager(nodevolumelimits.NewCSIManager(factory.Storage().V1().CSINodes().Lister())),
		frameworkruntime.WithEventRecorder(&events.FakeRecorder{}),
		frameworkruntime.WithParallelism(1),
	)
	if err != nil {
		return nil, fmt.Errorf("build the scheduler's framework: %w", err)
	}
	for _, object := range c.objects() {
		if err := store(factory, object).Add(object); err != nil {
			return nil, fmt.Errorf("store a %T: %w", object, err)
		}
	}
	return s, nil
}

// store is where the factory's informer keeps objects of that type.
func store(factory informers.SharedInformerFactory, object runtime.Object) cache.Indexer {
	var informer cache.SharedIndexInformer
	switch object.(type) {
	case *corev1.Namespace:
		informer = factory.Core().V1().Namespaces().Informer()
	case *corev1.Node:
		informer = factory.Core().V1().Nodes().Informer()
	case *corev1.PersistentVolume:
		informer = factory.Core().V1().PersistentVolumes().Informer()
	case *corev1.PersistentVolumeClaim:
		informer = factory.Core().V1().PersistentVolumeClaims().Informer()
	case *storagev1.StorageClass:
		informer = factory.Storage().V1().StorageClasses().Informer()
	case *storagev1.CSIDriver:
		informer = factory.Storage().V1().CSIDrivers().Informer()
	case *storagev1.CSINode:
		informer = factory.Storage().V1().CSINodes().Informer()
	case *storagev1.CSIStorageCapacity:
		informer = factory.Storage().V1().CSIStorageCapacities().Informer()
	case *storagev1.VolumeAttachment:
		informer = factory.Storage().V1().VolumeAttachments().Informer()
	default:
		panic(fmt.Sprintf("no store for a %T", object))
	}
	return informer.GetIndexer()
}

// observe brings the framework's snapshot up to date.
func (s *kubeScheduler) observe() {
	pods := slices.Clone(s.cluster.Pods)
	for _, p := range s.placed {
		pods = append(pods, p.bound)
	}
	s.current.Snapshot = schedulercache.NewSnapshot(pods, s.cluster.Nodes)
}

// judge says for each node why the pod may not go there, "" if it may.
func (s *kubeScheduler) judge(ctx context.Context, pod *corev1.Pod) ([]string, fwk.CycleState) {
	state := framework.NewCycleState()
	verdicts := make([]string, len(s.cluster.Nodes))
	result, status, _ := s.RunPreFilterPlugins(ctx, state, pod)
	for i, node := range s.cluster.Nodes {
		switch {
		case !status.IsSuccess():
			verdicts[i] = why(status)
		case !result.AllNodes() && !result.NodeNames.Has(node.Name):
			verdicts[i] = "PreFilter: left out"
		default:
			info, err := s.current.NodeInfos().Get(node.Name)
			if err != nil {
				panic(err) // every node is in the snapshot
			}
			if status := s.RunFilterPlugins(ctx, state, pod, info); !status.IsSuccess() {
				verdicts[i] = why(status)
			}
		}
	}
	return verdicts, state
}

func why(status *fwk.Status) string {
	return cmp.Or(status.Plugin(), "several plugins together") + ": " + status.Message()
}

// put binds the pod to the node as a scheduling cycle would.
func (s *kubeScheduler) put(ctx context.Context, pod *corev1.Pod, node string) error {
	_, state := s.judge(ctx, pod)
	if status := s.RunReservePluginsReserve(ctx, state, pod, node); !status.IsSuccess() {
		return fmt.Errorf("reserve %s on %s: %s", pod.Name, node, why(status))
	}
	bound := pod.DeepCopy()
	bound.Spec.NodeName = node
	s.placed = append(s.placed, placed{pod, bound, state})
	s.observe()
	return nil
}

// lift takes back the last n puts. What several pods did to one claim only
// comes right if it is all done again.
func (s *kubeScheduler) lift(ctx context.Context, n int) error {
	again := s.placed[:len(s.placed)-n]
	for _, p := range slices.Backward(s.placed) {
		s.RunReservePluginsUnreserve(ctx, p.state, p.bound, p.bound.Spec.NodeName)
	}
	s.placed = nil
	s.observe()
	for _, p := range again {
		if err := s.put(ctx, p.pod, p.bound.Spec.NodeName); err != nil {
			return err
		}
	}
	return nil
}
