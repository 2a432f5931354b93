package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
)

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

func installed() []*unstructured.Unstructured {
	return []*unstructured.Unstructured{
		object("v1", "Namespace", "", api.Namespace),
		object("apps/v1", "DaemonSet", api.Namespace, "tidegate"),
		object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "", "tidegate"),
		object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "tidegate"),
	}
}

// cluster is a fake cluster whose deletions are recorded.
func cluster(t *testing.T, deleted *[]string, objects ...client.Object) client.Client {
	t.Helper()
	return fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).WithStatusSubresource(&corev1.Pod{}).
		WithInterceptorFuncs(interceptor.Funcs{Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			err := c.Delete(ctx, o, opts...)
			if err == nil {
				*deleted = append(*deleted, o.GetObjectKind().GroupVersionKind().Kind)
			}
			return err
		}}).Build()
}

func TestUninstallLeavesNothing(t *testing.T) {
	fenced := agent(
		annotated(api.KeepAnnotation, "true"), annotated("example.com/owner", "me"), labelled("zone", "1"), labelled(api.RetiredLabel, "token"),
		retiring(api.Retirement{Reason: "idle"}),
		func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "gpu"}, api.FenceTaint(), {Key: api.StartupTaint, Effect: corev1.TaintEffectNoSchedule}}
		},
	)
	others := func(p *corev1.Pod) {
		p.Spec.SchedulingGates = append(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: "example.com/other"})
	}
	ready := func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	}
	var deleted []string
	c := cluster(t, &deleted, fenced,
		batchPod("waits", gated, others, says(corev1.ConditionFalse, "MachinesComing", "waiting")),
		batchPod("runs", on("agents000001"), ready, says(corev1.ConditionTrue, "Released", "released")),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: api.Namespace}},
		&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: "tidegate"}},
	)
	var out strings.Builder
	if err := (Uninstaller{Client: c, Objects: installed(), Out: &out}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"DaemonSet", "Namespace"}, deleted); diff != "" {
		t.Errorf("deleted, in this order (-want +got):\n%s", diff)
	}

	var n corev1.Node
	get(t, c, client.ObjectKey{Name: "agents000001"}, &n)
	got := []any{n.Annotations, n.Labels, n.Spec.Taints}
	want := []any{map[string]string{"example.com/owner": "me"}, map[string]string{"zone": "1"}, []corev1.Taint{{Key: "gpu"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the node (-want +got):\n%s", diff)
	}
	var waits, runs corev1.Pod
	get(t, c, client.ObjectKey{Namespace: "work", Name: "waits"}, &waits)
	get(t, c, client.ObjectKey{Namespace: "work", Name: "runs"}, &runs)
	if diff := cmp.Diff([]corev1.PodSchedulingGate{{Name: "example.com/other"}}, waits.Spec.SchedulingGates); diff != "" {
		t.Errorf("gates of the waiting pod (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.PodCondition{}, waits.Status.Conditions, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("conditions of the waiting pod (-want +got):\n%s", diff)
	}
	if len(runs.Status.Conditions) != 2 || capacityCondition(&runs) != nil {
		t.Errorf("conditions of the running pod: %+v, want its own two", runs.Status.Conditions)
	}
	if _, err := (Uninstaller{Client: c, Objects: installed(), Out: &out}).Find(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUninstallMindsMachinesThatAreBeingDeleted(t *testing.T) {
	goner := agent(annotated(api.DeletingAnnotation, "vm-1"), labelled(api.RetiredLabel, "token"))
	for name, tc := range map[string]struct {
		force   bool
		wantErr string
		want    int // of Tidegate's labels left
	}{
		"it waits for them":        {wantErr: "agents000001; wait until their nodes are gone", want: 2},
		"unless it is told not to": {force: true},
	} {
		t.Run(name, func(t *testing.T) {
			var deleted []string
			c := cluster(t, &deleted, goner.DeepCopy(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: api.Namespace}})
			err := (Uninstaller{Client: c, Objects: installed(), Out: &strings.Builder{}, Force: tc.force}).Run(t.Context())
			if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("error %v, want one that says %q", err, tc.wantErr)
			}
			if tc.wantErr != "" && len(deleted) > 0 {
				t.Errorf("deleted %v all the same", deleted)
			}
			var n corev1.Node
			get(t, c, client.ObjectKey{Name: "agents000001"}, &n)
			if len(n.Labels) != tc.want {
				t.Errorf("labels %v, want %d", n.Labels, tc.want)
			}
		})
	}
}

// A deletion that was committed between the first look and Tidegate's end.
func TestUninstallLeavesTheFenceOfALateDeletion(t *testing.T) {
	goner := agent(annotated(api.DeletingAnnotation, "vm-1"), labelled(api.RetiredLabel, "token"))
	var deleted []string
	var out strings.Builder
	u := Uninstaller{Client: cluster(t, &deleted, goner), Out: &out}
	if err := u.cleanNodes(t.Context(), findTraces(nil, []corev1.Node{*goner})); err != nil {
		t.Fatal(err)
	}
	var n corev1.Node
	get(t, u.Client, client.ObjectKey{Name: "agents000001"}, &n)
	if api.FenceToken(&n) == "" || !strings.Contains(out.String(), "left the fence on node agents000001") {
		t.Errorf("labels %v, said %q: want the fence left and that said", n.Labels, out.String())
	}
}

// A machine of a pool that is dead keeps its agent's pod for as long as its node
// is there; a dead server might still decide, and a person has to say.
func TestUninstallWithDeadMachines(t *testing.T) {
	pod := func(account string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: "lost"}, Spec: corev1.PodSpec{ServiceAccountName: account}}
	}
	for name, tc := range map[string]struct {
		account, wantErr string
	}{
		"a machine of a pool": {account: api.AgentAccount},
		"a server":            {account: "tidegate", wantErr: "kubectl delete pod -n " + api.Namespace + " lost --force --grace-period=0"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var deleted []string
				c := cluster(t, &deleted, pod(tc.account), batchPod("waits", gated))
				err := (Uninstaller{Client: c, Objects: installed(), Out: &strings.Builder{}}).Run(t.Context())
				if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
					t.Errorf("error %v, want one that says %q", err, tc.wantErr)
				}
				var p corev1.Pod
				get(t, c, client.ObjectKey{Namespace: "work", Name: "waits"}, &p)
				if freed := !api.HasCapacityGate(&p); freed != (tc.wantErr == "") {
					t.Errorf("the waiting pod was let through: %t", freed)
				}
			})
		})
	}
}

// An agent that was not waited for could write on a node that was cleaned.
func TestUninstallTakesTheRightsBeforeItCleans(t *testing.T) {
	var deleted []string
	binding := object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", "tidegate")
	c := interceptor.NewClient(cluster(t, &deleted, agent(labelled(api.RetiredLabel, "token")), binding.DeepCopy()).(client.WithWatch), interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if !slices.Contains(deleted, "ClusterRoleBinding") {
				t.Errorf("%s is cleaned while agents may write on it", o.GetName())
			}
			return c.Patch(ctx, o, patch, opts...)
		},
	})
	u := Uninstaller{Client: c, Objects: append(installed(), binding), Out: &strings.Builder{}}
	if err := u.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A pod that was released towards a pool selects the label by which the nodes
// of the pool are known, and can never select anything else.
func TestUninstallLeavesTheLabelThatPodsSelect(t *testing.T) {
	selects := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{api.PoolLabel: "agents"} }
	finished := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want map[string]string
	}{
		"without a node":   {batchPod("a", selects), map[string]string{api.PoolLabel: "agents"}},
		"with a node":      {batchPod("a", selects, on("agents000001")), map[string]string{}},
		"finished":         {batchPod("a", selects, finished), map[string]string{}},
		"selects no label": {batchPod("a"), map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			var deleted []string
			var out strings.Builder
			c := cluster(t, &deleted, agent(labelled(api.RetiredLabel, "token")), tc.pod)
			if err := (Uninstaller{Client: c, Objects: installed(), Out: &out}).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			var n corev1.Node
			get(t, c, client.ObjectKey{Name: "agents000001"}, &n)
			if diff := cmp.Diff(tc.want, n.Labels, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			if got := strings.Contains(out.String(), "run this again when they have ended"); got != (len(tc.want) > 0) {
				t.Errorf("said %q", out.String())
			}
		})
	}
}

func TestUninstallStopsAtTheFirstFailure(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(batchPod("waits", gated)).
		WithInterceptorFuncs(interceptor.Funcs{Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error {
			return apierrors.NewForbidden(corev1.Resource("x"), "tidegate", errors.New("no role"))
		}}).Build()
	err := (Uninstaller{Client: c, Objects: installed(), Out: &strings.Builder{}}).Run(t.Context())
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "MutatingWebhookConfiguration tidegate") {
		t.Errorf("error %v, want one that names the object", err)
	}
	var p corev1.Pod
	get(t, c, client.ObjectKey{Namespace: "work", Name: "waits"}, &p)
	if !api.HasCapacityGate(&p) {
		t.Error("the gate was taken off while Tidegate may still be there to gate the next pod")
	}
}

func get(t *testing.T, c client.Client, key client.ObjectKey, o client.Object) {
	t.Helper()
	if err := c.Get(t.Context(), key, o); err != nil {
		t.Fatal(err)
	}
}
