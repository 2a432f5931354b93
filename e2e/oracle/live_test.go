package oracle

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler"
)

// live is kube-scheduler as it runs, queue and cycles and bindings, on an API
// that is a client's fake.
type live struct {
	client *fake.Clientset
	pods   clienttesting.ObjectTracker
	// nodes is how many nodes the scheduler knows.
	nodes func() int
	// version is the newest resource version; the fake gives none, and without
	// one a scheduler takes an update for a repetition.
	version atomic.Int64
}

var podsResource = corev1.SchemeGroupVersion.WithResource("pods")

// startLive starts the scheduler on the objects until the test ends.
func startLive(t *testing.T, objects []runtime.Object) *live {
	t.Helper()
	ctx, stop := context.WithCancel(klog.NewContext(t.Context(), klog.New(nil)))
	client := fake.NewClientset(objects...)
	l := &live{client: client, pods: client.Tracker()}
	client.PrependReactor("create", "pods", l.bind)
	factory := scheduler.NewInformerFactory(client, 0, nil)
	s, err := scheduler.New(ctx, client, factory, nil,
		func(string) events.EventRecorderLogger { return &events.FakeRecorder{} },
		scheduler.WithPodInitialBackoffSeconds(1), scheduler.WithPodMaxBackoffSeconds(1))
	if err != nil {
		stop()
		t.Fatal(err)
	}
	l.nodes = s.Cache.NodeCount
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if err := s.WaitForHandlersSync(ctx); err != nil {
		stop()
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		factory.Shutdown()
	})
	return l
}

// bind does what the API server does with a binding.
func (l *live) bind(action clienttesting.Action) (bool, runtime.Object, error) {
	if action.GetSubresource() != "binding" {
		return false, nil, nil
	}
	binding := action.(clienttesting.CreateAction).GetObject().(*corev1.Binding)
	pod, err := l.pod(binding.Namespace, binding.Name)
	if err != nil {
		return true, nil, err
	}
	pod.Spec.NodeName = binding.Target.Name
	return true, binding, l.update(pod)
}

func (l *live) update(pod *corev1.Pod) error {
	pod.ResourceVersion = fmt.Sprint(l.version.Add(1))
	return l.pods.Update(podsResource, pod, pod.Namespace)
}

func (l *live) pod(namespace, name string) (*corev1.Pod, error) {
	object, err := l.pods.Get(podsResource, namespace, name)
	if err != nil {
		return nil, err
	}
	return object.(*corev1.Pod).DeepCopy(), nil
}

// release lets the pod through its gate, nominated for the node.
func (l *live) release(pod types.NamespacedName, node string) error {
	p, err := l.pod(pod.Namespace, pod.Name)
	if err != nil {
		return err
	}
	p.Spec.SchedulingGates = nil
	p.Status.NominatedNodeName = node
	return l.update(p)
}

// settle waits until each of the pods is bound, and returns those that are not
// after a while that is long against a scheduling cycle. One that was not tried
// by then says nothing: on a busy machine the scheduler may take longer.
func (l *live) settle(ctx context.Context, pods []types.NamespacedName) (pending []string, err error) {
	start := time.Now()
	for {
		pending = nil
		tried := true
		for _, key := range pods {
			p, err := l.pod(key.Namespace, key.Name)
			if err != nil {
				return nil, err
			}
			if p.Spec.NodeName == "" {
				why := unschedulable(p)
				tried = tried && why != ""
				pending = append(pending, fmt.Sprintf("%s, nominated for %q: %s", key.Name, p.Status.NominatedNodeName, cmp.Or(why, "not tried yet")))
			}
		}
		if waited := time.Since(start); len(pending) == 0 || tried && waited > 10*time.Second || waited > 2*time.Minute {
			return pending, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// unschedulable is what the scheduler says of a pod that it has not placed, ""
// if it has not tried.
func unschedulable(p *corev1.Pod) string {
	i := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	if i < 0 {
		return ""
	}
	return p.Status.Conditions[i].Message
}

// addNodes adds nodes, and returns once the scheduler knows them: it would not
// try one that a pod is nominated for otherwise.
func (l *live) addNodes(ctx context.Context, nodes []*corev1.Node) error {
	want := l.nodes() + len(nodes)
	for _, n := range nodes {
		if _, err := l.client.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	for l.nodes() < want {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (l *live) remove(p *corev1.Pod) error {
	return l.client.CoreV1().Pods(p.Namespace).Delete(context.Background(), p.Name, metav1.DeleteOptions{})
}
