package manager

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// A node that came into being after its machine had gone is forgotten with it.
func TestNodesOfDepartedMachines(t *testing.T) {
	const other = "99999999-2222-3333-4444-555555555555"
	for name, tc := range map[string]struct {
		change func(*corev1.Node)
		after  time.Duration // since the machine has gone
		want   string        // what the node is recorded as
	}{
		"a node of it":                  {want: testVMID},
		"of another machine":            {change: func(n *corev1.Node) { n.Status.NodeInfo.SystemUUID = other }},
		"it is ready: something runs":   {change: func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue }},
		"it is recorded as another one": {change: func(n *corev1.Node) { n.Annotations = map[string]string{api.VMIDAnnotation: other} }, want: other},
		"long ago":                      {after: departureKept + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agents000001", UID: "uid-node"}}
			n.Status.NodeInfo.SystemUUID = testVMID
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
			if tc.change != nil {
				tc.change(n)
			}
			w := newWorld(t, open404, interceptor.Funcs{}, n)
			recorder := &events.FakeRecorder{Events: make(chan string, 10)}
			w.events = recorder
			now := time.Now()
			w.pools.now = func() time.Time { return now }
			s := &poolState{}
			s.Name, s.Listed, s.Instances = "agents", true, []capacity.Instance{{ID: "1", VMID: testVMID}}
			w.pools.states["agents"] = s
			w.pools.noteDepartures(s, nil)
			now = now.Add(tc.after)
			w.pools.noteDepartures(&poolState{}, nil)

			o := w.observation()
			o.snapshot.Pools = []capacity.PoolState{{Pool: capacity.Pool{Name: "agents"}, Listed: true, Lists: 2}}
			o.changes, _ = w.store.fill(&o.snapshot, w.progress.show)
			w.recognise(o)
			w.followMachines(o)
			got := o.snapshot.Nodes[0]
			if got.Recorded != tc.want || tc.want == testVMID && got.Pool != "agents" {
				t.Errorf("recorded as %q of pool %q, want %q", got.Recorded, got.Pool, tc.want)
			}
			if len(recorder.Events) > 0 {
				t.Errorf("told %q of a machine that was told of before", <-recorder.Events)
			}
		})
	}
}
