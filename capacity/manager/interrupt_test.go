package manager

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

func interruption(id string) api.Interruption {
	return api.Interruption{
		ID: id, Type: api.InterruptionReboot, Resources: []string{"agents_1"},
		NotBefore: metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
	}
}

// interruptedNode is fenced, and reports these.
func interruptedNode(reported ...api.Interruption) *corev1.Node {
	n := fencedNode()
	n.Annotations[api.InterruptionsAnnotation] = api.EncodeInterruptions(reported)
	return n
}

// TestApprove is about the last look: only an empty node whose fence is proved
// once more is given free; whatever else is found changes nothing.
func TestApprove(t *testing.T) {
	proof := refusal("uid-node", testToken)
	committed := func(n *corev1.Node) { n.Annotations[api.DeletingAnnotation] = testVMID }
	for name, tc := range map[string]struct {
		proof   answer
		node    func(*corev1.Node)
		pods    []client.Object
		prepare func(*testing.T, *world)
		want    bool
		notYet  bool // and it is no failure
	}{
		"an empty node":                  {proof: proof, want: true},
		"only a DaemonSet's":             {proof: proof, pods: []client.Object{podOn("d", ownedBy("DaemonSet", "apps/v1"))}, want: true},
		"a Job's pod":                    {proof: proof, pods: []client.Object{podOn("j", ownedBy("Job", "batch/v1"))}, notYet: true},
		"the fence is not enforced":      {proof: open404, notYet: true},
		"the fence is in doubt":          {proof: refusal("uid-node", "other")},
		"the pods cannot be read":        {proof: proof, prepare: fails("list", "pods")},
		"the node cannot be read":        {proof: proof, prepare: fails("get", "nodes")},
		"another fence meanwhile":        {proof: proof, prepare: liveNode(func(n *corev1.Node) { n.Labels[api.RetiredLabel] = "new" }), notYet: true},
		"another node by that name":      {proof: proof, prepare: liveNode(func(n *corev1.Node) { n.UID = "other" }), notYet: true},
		"never fenced":                   {proof: proof, node: func(n *corev1.Node) { delete(n.Labels, api.RetiredLabel) }, notYet: true},
		"its deletion is committed":      {proof: open404, node: committed, pods: []client.Object{podOn("late", nil)}, want: true},
		"its deletion, API servers away": {proof: proof, node: committed, prepare: fails("list", "endpointslices"), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			node := interruptedNode(interruption("e1"))
			if tc.node != nil {
				tc.node(node)
			}
			w := newWorld(t, tc.proof, interceptor.Funcs{}, append(tc.pods, node)...)
			if tc.prepare != nil {
				tc.prepare(t, w)
			}
			n := w.node(t)
			err := w.approve(t.Context(), n, []*corev1.Node{n}, interruption("e1"))
			if (err == nil) != tc.want || errors.Is(err, errNotYet) != tc.notYet {
				t.Errorf("error %v; want none: %t, one that has it planned again: %t", err, tc.want, tc.notYet)
			}
			var want []api.Interruption
			if tc.want {
				want = []api.Interruption{interruption("e1")}
			}
			if diff := cmp.Diff(want, api.ApprovedInterruptions(w.node(t))); diff != "" {
				t.Errorf("approved (-want +got):\n%s", diff)
			}
			if got := testutil.ToFloat64(w.metrics.approved); (got == 1) != tc.want {
				t.Errorf("tidegate_approved_interruptions_total is %v", got)
			}
		})
	}
}

// One look is not enough where several machines are meant.
func TestApproveLooksAtEveryNode(t *testing.T) {
	told, other := interruptedNode(interruption("e1")), fencedNode()
	other.Name = "gone"
	w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{}, told)
	n := w.node(t)
	if err := w.approve(t.Context(), n, []*corev1.Node{n, other}, interruption("e1")); err == nil {
		t.Error("approved although the other node could not be looked at")
	}
	if got := api.ApprovedInterruptions(w.node(t)); got != nil {
		t.Errorf("approved %+v", got)
	}
}

// An approval of something that is over goes when another one comes; one of
// something that is still announced stays.
func TestApprovalsAreKeptTidy(t *testing.T) {
	node := interruptedNode(interruption("e1"), interruption("e2"))
	changed := interruption("e2")
	changed.Resources = []string{"agents_1", "agents_2"}
	node.Annotations[api.ApprovedAnnotation] = api.EncodeInterruptions([]api.Interruption{interruption("over"), interruption("e1"), changed})
	w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{}, node)
	n := w.node(t)
	if err := w.approve(t.Context(), n, []*corev1.Node{n}, interruption("e2")); err != nil {
		t.Fatal(err)
	}
	want := []api.Interruption{interruption("e1"), interruption("e2")}
	if diff := cmp.Diff(want, api.ApprovedInterruptions(w.node(t))); diff != "" {
		t.Errorf("approved (-want +got):\n%s", diff)
	}

	step := capacity.Step{Node: n.Name, UID: n.UID, Kind: capacity.StepForgetApproval}
	if err := w.perform(t.Context(), w.node(t), step); err != nil {
		t.Fatal(err)
	}
	if _, left := w.node(t).Annotations[api.ApprovedAnnotation]; left {
		t.Error("the approval is not forgotten")
	}
	if diff := cmp.Diff(w.node(t).Annotations[api.InterruptionsAnnotation], node.Annotations[api.InterruptionsAnnotation]); diff != "" {
		t.Errorf("the agent's own annotation has changed:\n%s", diff)
	}
}

// A decision about a node that was replaced meanwhile is not carried out.
func TestApprovalIsForOneNode(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	w.store.set(fencedNode())
	o := w.observation()
	approval := capacity.Approval{Interruption: interruption("e1"), Node: "agents000001", Nodes: []string{"agents000001"}}
	for uid, want := range map[types.UID]string{"uid-node": "approve/e1", "earlier": ""} {
		approval.UID = uid
		w.act(o, capacity.Decision{Approvals: []capacity.Approval{approval}})
		if got := strings.Join(keys(w.lanes.nodes), " "); got != want {
			t.Errorf("actions %q for the node with UID %s, want %q", got, uid, want)
		}
	}
}

// A fence that comes without a mark says why it came.
func TestFenceOfAnUnmarkedNodeSaysWhy(t *testing.T) {
	for name, tc := range map[string]struct {
		mark *api.Retirement
		want string
	}{
		"not marked": {want: "Azure announces: Reboot"},
		"marked":     {mark: &api.Retirement{Reason: "idle"}, want: "idle"},
	} {
		t.Run(name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agents000001", UID: "uid-node"}}
			if tc.mark != nil {
				setRetirement(node, *tc.mark)
			}
			w := newWorld(t, open404, interceptor.Funcs{}, node)
			step := capacity.Step{Node: node.Name, UID: node.UID, Kind: capacity.StepFence, Why: "Azure announces: Reboot"}
			if err := w.perform(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			got := api.RetirementOf(w.node(t))
			if got == nil || got.Reason != tc.want || got.FencedAt == nil {
				t.Errorf("retirement %+v, want reason %q and the time of the fence", got, tc.want)
			}
		})
	}
}

func TestPlannerLearnsOfInterruptions(t *testing.T) {
	n := interruptedNode(interruption("e1"), interruption("e2"))
	n.Annotations[api.ApprovedAnnotation] = api.EncodeInterruptions([]api.Interruption{interruption("e2")})
	got := node(n)
	want := capacity.Node{Interruptions: []api.Interruption{interruption("e1"), interruption("e2")}, Approved: []api.Interruption{interruption("e2")}}
	if diff := cmp.Diff(want, capacity.Node{Interruptions: got.Interruptions, Approved: got.Approved}); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
}
