package manager

import (
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlfake "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

const (
	testToken = "0123456789abcdef0123456789abcdef"
	testVMID  = "11111111-2222-3333-4444-555555555555"
)

// fencedNode is a node whose fence stands and whose deletion is next.
func fencedNode() *corev1.Node {
	empty := metav1.NewTime(time.Now().Add(-time.Hour))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "agents000001", UID: "uid-node",
		Labels:      map[string]string{api.RetiredLabel: testToken, api.PoolLabel: "agents"},
		Annotations: map[string]string{api.VMIDAnnotation: testVMID},
	}}
	node.Spec.Taints = []corev1.Taint{api.FenceTaint()}
	setRetirement(node, api.Retirement{Reason: "test", Since: empty, EmptySince: &empty})
	return node
}

func committedNode() *corev1.Node {
	n := fencedNode()
	n.Annotations[api.DeletingAnnotation] = testVMID
	return n
}

func commitStep() capacity.Step {
	return capacity.Step{
		Node: "agents000001", UID: "uid-node", Kind: capacity.StepCommit, Fate: api.FateDelete, Pool: "agents",
		Instance: capacity.Instance{ID: "1", VMID: testVMID},
	}
}

// world is a manager with fake clients of one and the same cluster.
type world struct {
	*Manager
	typed *fake.Clientset
}

// newWorld returns a manager in a cluster with these objects. The proofs are
// answered by a server of their own.
func newWorld(t *testing.T, proof answer, funcs interceptor.Funcs, objects ...client.Object) *world {
	t.Helper()
	server := apiServer(t, "agents000001", proof)
	typed := fake.NewClientset()
	for _, o := range append([]client.Object{endpoint(t, 0, server)}, objects...) {
		if err := typed.Tracker().Add(o.DeepCopyObject()); err != nil {
			t.Fatal(err)
		}
	}
	c := ctrlfake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).
		WithStatusSubresource(&corev1.Pod{}).WithInterceptorFuncs(funcs).Build()
	// A live read sees what the writes have written, with its version.
	typed.PrependReactor("get", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		var n corev1.Node
		err := c.Get(t.Context(), client.ObjectKey{Name: action.(clienttesting.GetAction).GetName()}, &n)
		return true, &n, err
	})
	m := New(Options{
		Client: c, Kubernetes: typed,
		Config:  &rest.Config{Host: "https://127.0.0.1:1", Timeout: 5 * time.Second, TLSClientConfig: rest.TLSClientConfig{Insecure: true}},
		Events:  &events.FakeRecorder{},
		Metrics: prometheus.NewRegistry(),
		Log:     testr.New(t),
	})
	for _, o := range objects {
		m.store.set(o.DeepCopyObject())
	}
	return &world{Manager: m, typed: typed}
}

// node returns the node as it is now.
func (w *world) node(t *testing.T) *corev1.Node {
	t.Helper()
	var n corev1.Node
	if err := w.client.Get(t.Context(), client.ObjectKey{Name: "agents000001"}, &n); err != nil {
		t.Fatal(err)
	}
	return &n
}

// observation is one of all that the store has.
func (w *world) observation() *observation {
	return &observation{store: w.store, changes: w.store.changes}
}

// fails makes the live reads fail.
func fails(verb, resource string) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		w.typed.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("the API server hung up")
		})
	}
}

// liveNode makes the live read of the node find another one. Its version is the
// present one: only the check itself keeps such a node from being acted on.
func liveNode(change func(*corev1.Node)) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		live := w.node(t)
		change(live)
		w.typed.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, live.DeepCopy(), nil
		})
	}
}
