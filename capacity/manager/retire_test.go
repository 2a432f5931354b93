package manager

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

func podOn(name string, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "work", Name: name, UID: "uid-pod"},
		Spec:       corev1.PodSpec{NodeName: "agents000001"},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func ownedBy(kind, group string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: group, Kind: kind, Name: "o", Controller: new(true)}}
	}
}

// TestCommit is about the last look: only an empty node whose fence is proved
// once more is committed; work takes the fence back; a doubt changes nothing.
func TestCommit(t *testing.T) {
	proof := refusal("uid-node", testToken)
	const committed, fenced, open = "committed", "fenced", "open"
	for name, tc := range map[string]struct {
		proof   answer
		pods    []client.Object
		prepare func(*testing.T, *world)
		want    string
		wantErr bool
		notYet  bool // and it is no failure
	}{
		"an empty node":       {proof: proof, want: committed},
		"only a DaemonSet's":  {proof: proof, pods: []client.Object{podOn("d", ownedBy("DaemonSet", "apps/v1"))}, want: committed},
		"only a finished pod": {proof: proof, pods: []client.Object{podOn("f", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })}, want: committed},
		"only a static pod": {proof: proof, pods: []client.Object{podOn("m", func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
		})}, want: committed},
		"a Job's pod": {proof: proof, pods: []client.Object{podOn("j", ownedBy("Job", "batch/v1"))}, want: open},
		"a bare pod":  {proof: proof, pods: []client.Object{podOn("b", nil)}, want: open},
		"a pod on its way out": {proof: proof, pods: []client.Object{podOn("b", func(p *corev1.Pod) {
			now := metav1.Now()
			p.DeletionTimestamp, p.Finalizers = &now, []string{"x/y"}
		})}, want: open},
		"a DaemonSet's pod that opted in": {proof: proof, pods: []client.Object{podOn("d", func(p *corev1.Pod) {
			ownedBy("DaemonSet", "apps/v1")(p)
			p.Annotations = map[string]string{api.GateKey: "true"}
		})}, want: open},
		"the fence is no longer enforced":   {proof: open404, want: open},
		"the fence cannot be proved":        {proof: status(500, metav1.StatusReasonInternalError, "broken"), want: fenced, wantErr: true},
		"another fence answers":             {proof: refusal("uid-node", "other"), want: fenced, wantErr: true},
		"the pods cannot be read":           {proof: proof, prepare: fails("list", "pods"), want: fenced, wantErr: true},
		"the node cannot be read":           {proof: proof, prepare: fails("get", "nodes"), want: fenced, wantErr: true},
		"the API servers cannot be listed":  {proof: proof, prepare: fails("list", "endpointslices"), want: fenced, wantErr: true},
		"somebody says keep meanwhile":      {proof: proof, prepare: liveNode(func(n *corev1.Node) { n.Annotations[api.KeepAnnotation] = "true" }), want: fenced, wantErr: true, notYet: true},
		"the token changed meanwhile":       {proof: proof, prepare: liveNode(func(n *corev1.Node) { n.Labels[api.RetiredLabel] = "new" }), want: fenced, wantErr: true, notYet: true},
		"the fence went meanwhile":          {proof: proof, prepare: liveNode(func(n *corev1.Node) { delete(n.Labels, api.RetiredLabel) }), want: fenced, wantErr: true, notYet: true},
		"the mark went meanwhile":           {proof: proof, prepare: liveNode(func(n *corev1.Node) { unmark(n) }), want: fenced, wantErr: true, notYet: true},
		"it is another machine now":         {proof: proof, prepare: liveNode(func(n *corev1.Node) { n.Annotations[api.VMIDAnnotation] = "other" }), want: fenced, wantErr: true, notYet: true},
		"it is another node by that name":   {proof: proof, prepare: liveNode(func(n *corev1.Node) { n.UID = "other" }), want: fenced, wantErr: true, notYet: true},
		"somebody else committed meanwhile": {proof: proof, prepare: liveNode(func(n *corev1.Node) { n.Annotations[api.DeletingAnnotation] = "x" }), want: fenced, wantErr: true, notYet: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.proof, interceptor.Funcs{}, append(tc.pods, fencedNode())...)
			if tc.prepare != nil {
				tc.prepare(t, w)
			}
			err := w.commit(t.Context(), w.node(t), commitStep())
			if (err != nil) != tc.wantErr {
				t.Errorf("error %v, want one: %t", err, tc.wantErr)
			}
			if errors.Is(err, errNotYet) != tc.notYet {
				t.Errorf("error %v, want one that has it planned again: %t", err, tc.notYet)
			}
			got := open
			switch n := w.node(t); {
			case n.Annotations[api.DeletingAnnotation] == testVMID:
				got = committed
			case n.Labels[api.RetiredLabel] == testToken && api.Marked(n):
				got = fenced
			case api.Marked(n) || len(n.Spec.Taints) > 0 || n.Labels[api.RetiredLabel] != "":
				got = "neither fenced nor open"
			}
			if got != tc.want {
				t.Errorf("the node is %s, want %s", got, tc.want)
			}
		})
	}
}

// On a machine that is off nobody confirms the end of a pod that Kubernetes has taken:
// it must not keep the machine for ever.
func TestCommitOfAMachineThatIsOff(t *testing.T) {
	taken := func(p *corev1.Pod) {
		now := metav1.Now()
		p.DeletionTimestamp, p.Finalizers = &now, []string{"x/y"}
	}
	ready := func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	}
	for name, tc := range map[string]struct {
		state capacity.InstanceState
		freed bool // deallocated
		node  func(*corev1.Node)
		pod   func(*corev1.Pod)
		want  bool
	}{
		"off, its pod taken":                     {state: capacity.InstanceStopped, pod: taken, want: true},
		"off, its pod not taken":                 {state: capacity.InstanceStopped},
		"off by the list, and its node is ready": {state: capacity.InstanceStopped, node: ready, pod: taken},
		"it runs":                                {state: capacity.InstanceRunning, pod: taken},
		"Azure could not start it":               {state: capacity.InstanceFailed, freed: true, pod: taken, want: true},
		"Azure could not change it":              {state: capacity.InstanceFailed, pod: taken},
	} {
		t.Run(name, func(t *testing.T) {
			n := fencedNode()
			if tc.node != nil {
				tc.node(n)
			}
			w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{}, n, podOn("p", tc.pod))
			step := commitStep()
			step.Instance.State, step.Instance.Deallocated = tc.state, tc.freed
			if err := w.commit(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			if got := w.node(t).Annotations[api.DeletingAnnotation] == testVMID; got != tc.want {
				t.Errorf("its deletion is committed: %t, want %t", got, tc.want)
			}
		})
	}
}

// What is given up because its node is silent counts, so that a broken image costs no
// more than a few machines an hour.
func TestCommitCountsWhatIsGivenUp(t *testing.T) {
	for name, tc := range map[string]struct {
		repair bool
		want   int
	}{
		"its node is silent": {repair: true, want: 1},
		"nobody needs it":    {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{}, fencedNode())
			w.pools.states["agents"] = &poolState{PoolState: capacity.PoolState{Listed: true}}
			step := commitStep()
			step.Repair = tc.repair
			if err := w.commit(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			if got := len(w.pools.snapshot()[0].Repairs); got != tc.want {
				t.Errorf("%d machines count as given up, want %d", got, tc.want)
			}
		})
	}
}

// TestCommitLosesAgainstAnyWrite: the commitment compares the version that the
// live read saw.
func TestCommitLosesAgainstAnyWrite(t *testing.T) {
	w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			return apierrors.NewConflict(schema.GroupResource{Resource: "nodes"}, "agents000001", errors.New("changed"))
		},
	}, fencedNode())
	if err := w.commit(t.Context(), w.node(t), commitStep()); !isStale(err) {
		t.Errorf("error %v, want a conflict", err)
	}
	if _, ok := w.node(t).Annotations[api.DeletingAnnotation]; ok {
		t.Error("the node is committed all the same")
	}
}

func TestCommitSendsTheVersionItRead(t *testing.T) {
	var sent string
	w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			data, err := p.Data(o)
			if err != nil {
				return err
			}
			sent = string(data)
			return c.Patch(ctx, o, p, opts...)
		},
	}, fencedNode())
	if err := w.commit(t.Context(), w.node(t), commitStep()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(sent, `"resourceVersion"`) {
		t.Errorf("the patch %s does not compare the resourceVersion", sent)
	}
}

func TestFenceIsOnePatchWithAFreshToken(t *testing.T) {
	unfenced := fencedNode()
	unfenced.Labels = map[string]string{"other": "label"}
	unfenced.Spec.Taints = []corev1.Taint{{Key: "other", Effect: corev1.TaintEffectNoSchedule}}
	patches := 0
	w := newWorld(t, open404, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			patches++
			return c.Patch(ctx, o, p, opts...)
		},
	}, unfenced)
	tokens := map[string]bool{}
	for range 2 {
		before := w.node(t)
		w.perform(t.Context(), before, capacity.Step{Node: before.Name, Kind: capacity.StepFence})
		tokens[api.FenceToken(w.node(t))] = true
	}
	n := w.node(t)
	if patches != 2 || len(tokens) != 2 || tokens[""] {
		t.Errorf("%d patches set the tokens %v, want 2 patches with a token each", patches, tokens)
	}
	want := []corev1.Taint{{Key: "other", Effect: corev1.TaintEffectNoSchedule}, api.FenceTaint()}
	if diff := cmp.Diff(want, n.Spec.Taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
	if n.Labels["other"] != "label" || api.RetirementOf(n).FencedAt == nil {
		t.Errorf("labels %v, retirement %+v: want the other label kept and the time of the fence", n.Labels, api.RetirementOf(n))
	}
}

// An API server that does not know the fence yet is not asked without a break.
func TestAProofThatIsNotYetIsTriedAgainLater(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{}, fencedNode())
	step := commitStep()
	step.Kind = capacity.StepProve
	if err := w.perform(t.Context(), w.node(t), step); !errors.Is(err, errNotYet) {
		t.Errorf("error %v, want one that has it planned again", err)
	}
	if n := w.progress.node("uid-node"); !n.proved.IsZero() || !n.holdUntil.After(n.proving) {
		t.Errorf("proved at %v, and the next try is at %v, after one at %v; want it later", n.proved, n.holdUntil, n.proving)
	}
}

func TestForgetRemovesThisNodeOnly(t *testing.T) {
	var sent client.DeleteOptions
	w := newWorld(t, open404, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			sent.ApplyOptions(opts)
			return c.Delete(ctx, o, opts...)
		},
	}, fencedNode())
	n := w.node(t)
	if err := w.forget(t.Context(), n, commitStep()); err != nil {
		t.Fatal(err)
	}
	want := &metav1.Preconditions{UID: &n.UID, ResourceVersion: &n.ResourceVersion}
	if diff := cmp.Diff(want, sent.Preconditions); diff != "" {
		t.Errorf("preconditions (-want +got):\n%s", diff)
	}
	if err := w.client.Get(t.Context(), client.ObjectKey{Name: n.Name}, &corev1.Node{}); !apierrors.IsNotFound(err) {
		t.Errorf("get the forgotten node: %v, want not found", err)
	}
}
