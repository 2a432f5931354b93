package manager

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// restartingNode is a node whose restart is committed.
func restartingNode() *corev1.Node {
	n := fencedNode()
	n.Status.NodeInfo.BootID = "before"
	n.Annotations[api.RetireAnnotation] = string(api.FateRestart)
	n.Annotations[api.RestartingAnnotation] = api.Restart{Fate: api.FateRestart, VMID: testVMID, BootID: "before"}.Encode()
	return n
}

// What is committed is what the operator asks for at the last look.
func TestCommitOfAFate(t *testing.T) {
	for name, tc := range map[string]struct {
		annotation string // on the node as it is
		planned    api.Fate
		want       string // "" for no commitment
	}{
		"a restart":               {annotation: "restart", planned: api.FateRestart, want: "restart before"},
		"a reimage":               {annotation: "reimage", planned: api.FateReimage, want: "reimage before"},
		"a deletion":              {annotation: "delete", planned: api.FateDelete, want: "delete"},
		"the pool keeps them off": {planned: api.FateDeallocate, want: "deallocate before"},
		"rather deleted by now":   {annotation: "delete", planned: api.FateDeallocate},
		"by themselves they go":   {planned: api.FateDelete, want: "delete"},
		"rather a restart by now": {annotation: "restart", planned: api.FateDelete},
		"not a restart any more":  {planned: api.FateRestart},
	} {
		t.Run(name, func(t *testing.T) {
			n := fencedNode()
			n.Status.NodeInfo.BootID = "before"
			if tc.annotation != "" {
				n.Annotations[api.RetireAnnotation] = tc.annotation
			}
			w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{}, n)
			step := commitStep()
			step.Fate = tc.planned
			if err := w.commit(t.Context(), w.node(t), step); err != nil && !errors.Is(err, errNotYet) {
				t.Fatal(err)
			}
			got := ""
			if r := api.RestartOf(w.node(t)); r != nil {
				got = string(r.Fate) + " " + r.BootID
			}
			if w.node(t).Annotations[api.DeletingAnnotation] != "" {
				got += "delete"
			}
			if got != tc.want {
				t.Errorf("committed to %q, want %q", got, tc.want)
			}
		})
	}
}

// The outcome of a restart is recorded on the node, also if that has changed
// meanwhile; a failure is told and tried again.
func TestRestartOutcome(t *testing.T) {
	for name, tc := range map[string]struct {
		atOnce, late error
		before       func(*corev1.Node) // the request is sent
		meanwhile    func(*corev1.Node)
		unasked      bool
		done         bool
		told         string
	}{
		"carried out":                     {done: true},
		"carried out, the kubelet writes": {meanwhile: func(n *corev1.Node) { n.Labels["kubelet"] = "wrote" }, done: true},
		"carried out, taken back":         {meanwhile: func(n *corev1.Node) { delete(n.Annotations, api.RestartingAnnotation) }},
		"the node has changed":            {before: func(n *corev1.Node) { n.Labels["changed"] = "meanwhile" }, unasked: true},
		"refused at once":                 {atOnce: errors.New("403 no role"), told: "403 no role"},
		"failed late":                     {late: errors.New("the VM is locked"), told: "the VM is locked"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, open404, interceptor.Funcs{}, restartingNode())
			recorder := &events.FakeRecorder{Events: make(chan string, 10)}
			w.events = recorder
			planned := w.node(t)
			change := func(how func(*corev1.Node)) {
				if how == nil {
					return
				}
				changed := w.node(t)
				how(changed)
				if err := w.client.Update(t.Context(), changed); err != nil {
					t.Error(err)
				}
			}
			change(tc.before)
			var asked *metav1.Time // when the cloud was asked, as the node said then
			cloud := &scriptedCloud{deleteErr: tc.atOnce, outcome: tc.late, onRestart: func() {
				asked = api.RestartOf(w.node(t)).Asked
				change(tc.meanwhile)
			}}
			synctest.Test(t, func(t *testing.T) {
				w.pools = newPools(cloud, time.Now, w.log, func() {})
				step := commitStep()
				step.Kind, step.Fate = capacity.StepRestart, api.FateRestart
				w.restart(t.Context(), "agents", api.FateRestart, []doomed{{step, planned}})
				time.Sleep(2 * time.Minute)
			})
			if want := []string{"restart 1"}; !tc.unasked && (!slices.Equal(cloud.restarts, want) || asked == nil) || tc.unasked && cloud.restarts != nil {
				t.Errorf("the cloud was asked for %v when the node said %v, want one restart of instance 1, and that written first", cloud.restarts, asked)
			}
			r := api.RestartOf(w.node(t))
			if done := r != nil && r.Done != nil; done != tc.done {
				t.Errorf("recorded as done: %t, want %t", done, tc.done)
			}
			told := ""
			if len(recorder.Events) > 0 {
				told = <-recorder.Events
			}
			if !strings.Contains(told, tc.told) || (told == "") != (tc.told == "") {
				t.Errorf("told %q, want %q", told, tc.told)
			}
		})
	}
}

// A machine that is off may be deleted yet, and then is that alone.
func TestADeallocatedMachineIsDeleted(t *testing.T) {
	for name, tc := range map[string]struct {
		fate  api.Fate
		done  bool
		asked api.Fate
		want  bool
	}{
		"it is off":                           {fate: api.FateDeallocate, done: true, want: true},
		"it is off and was to be restarted":   {fate: api.FateDeallocate, done: true, asked: api.FateRestart, want: true},
		"it is about to be off":               {fate: api.FateDeallocate},
		"it is being restarted":               {fate: api.FateRestart, done: true},
		"it is being restarted, as was asked": {fate: api.FateRestart, done: true, asked: api.FateRestart},
	} {
		t.Run(name, func(t *testing.T) {
			n := fencedNode()
			r := api.Restart{Fate: tc.fate, VMID: testVMID}
			if tc.done {
				r.Done = new(metav1.Now())
			}
			n.Annotations[api.RestartingAnnotation] = r.Encode()
			if tc.asked != "" {
				n.Annotations[api.RetireAnnotation] = string(tc.asked)
			}
			w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{}, n)
			if err := w.commit(t.Context(), w.node(t), commitStep()); err != nil && !errors.Is(err, errNotYet) {
				t.Fatal(err)
			}
			live := w.node(t)
			if committed := live.Annotations[api.DeletingAnnotation] == testVMID; committed != tc.want || committed == (api.RestartOf(live) != nil) {
				t.Errorf("annotations %v, want its deletion alone committed: %t", live.Annotations, tc.want)
			}
		})
	}
}

// A machine that does not come back from its restart is deleted, although an
// operator asked for a restart alone; one that has come back is not.
func TestAMachineThatIsNotBackIsDeleted(t *testing.T) {
	for name, tc := range map[string]struct {
		planned   bool // as one that is not back
		changing  bool // the machine is
		meanwhile func(*corev1.Node)
		want      bool
	}{
		"not back":     {planned: true, meanwhile: func(*corev1.Node) {}, want: true},
		"not given up": {meanwhile: func(*corev1.Node) {}},
		"ready at the last look": {planned: true, meanwhile: func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		}},
		"ready at the last look, and the cloud still at work on it": {planned: true, changing: true, meanwhile: func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		}, want: true},
		"done at the last look": {planned: true, meanwhile: func(n *corev1.Node) {
			n.Annotations[api.RestartingAnnotation] = api.Restart{Fate: api.FateRestart, VMID: testVMID, Done: new(metav1.Now())}.Encode()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := restartingNode()
			n.Status.Conditions = nil
			live := n.DeepCopy()
			tc.meanwhile(live)
			w := newWorld(t, refusal("uid-node", testToken), interceptor.Funcs{}, live)
			cached := w.node(t).DeepCopy()
			cached.Annotations = n.Annotations
			step := commitStep()
			step.Failed, step.Repair, step.Instance.Changing = tc.planned, true, tc.changing
			if err := w.commit(t.Context(), cached, step); err != nil && !errors.Is(err, errNotYet) {
				t.Fatal(err)
			}
			if got := w.node(t).Annotations[api.DeletingAnnotation] == testVMID; got != tc.want {
				t.Errorf("its deletion is committed: %t, want %t", got, tc.want)
			}
		})
	}
}

// When a machine is started is on its node before the cloud is asked; on an old
// picture of the node nobody is. What the cloud refuses is taken back.
func TestStart(t *testing.T) {
	noRoom := &capacity.GrowError{Reason: "no room"}
	for name, tc := range map[string]struct {
		meanwhile func(*corev1.Node)
		refused   error
		late      error
		asked     []string
		taken     bool // back, so that nobody counts on it
		told      string
	}{
		"started":      {asked: []string{"start 1"}},
		"refused":      {refused: noRoom, asked: []string{"start 1"}, taken: true, told: "StartFailed"},
		"refused late": {late: noRoom, asked: []string{"start 1"}, taken: true, told: "StartFailed"},
		"no answer": {
			refused: &capacity.GrowError{Reason: "no access", Err: fmt.Errorf("reset: %w", capacity.ErrNoAnswer)}, asked: []string{"start 1"}, told: "StartFailed",
		},
		"the machine is not what it was": {refused: errors.New("another VM has its ID"), asked: []string{"start 1"}, told: "StartFailed"},
		"the node has changed":           {meanwhile: func(n *corev1.Node) { n.Labels["changed"] = "meanwhile" }},
	} {
		t.Run(name, func(t *testing.T) {
			n := fencedNode()
			n.Annotations[api.RestartingAnnotation] = api.Restart{Fate: api.FateDeallocate, VMID: testVMID, Done: new(metav1.Now())}.Encode()
			w := newWorld(t, open404, interceptor.Funcs{}, n)
			recorder := &events.FakeRecorder{Events: make(chan string, 10)}
			w.events = recorder
			planned := w.node(t)
			if tc.meanwhile != nil {
				changed := w.node(t)
				tc.meanwhile(changed)
				if err := w.client.Update(t.Context(), changed); err != nil {
					t.Fatal(err)
				}
			}
			cloud := &scriptedCloud{deleteErr: tc.refused, outcome: tc.late}
			synctest.Test(t, func(t *testing.T) {
				w.pools = newPools(cloud, time.Now, w.log, func() {})
				step := commitStep()
				step.Kind = capacity.StepStart
				w.start(t.Context(), "agents", []doomed{{step, planned}})
				time.Sleep(2 * time.Minute)
			})
			if diff := cmp.Diff(tc.asked, cloud.restarts); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
			if started, want := api.RestartOf(w.node(t)).Started != nil, tc.asked != nil && !tc.taken; started != want {
				t.Errorf("recorded as started: %t, want %t", started, want)
			}
			told := ""
			if len(recorder.Events) > 0 {
				told = <-recorder.Events
			}
			if !strings.Contains(told, tc.told) || (told == "") != (tc.told == "") {
				t.Errorf("told %q, want %q", told, tc.told)
			}
		})
	}
}

// A pool that refuses to start machines has no room for new ones either: it is left
// alone for a while, longer each time, and other pools are asked.
func TestARefusedStartKeepsThePoolAway(t *testing.T) {
	noRoom, refs := &capacity.GrowError{Reason: "no room"}, []capacity.Ref{{ID: "1", VMID: testVMID}}
	for name, tc := range map[string]struct {
		refused, late error
		want          string // why it is left alone, "" if it is not
	}{
		"started":      {},
		"at once":      {refused: noRoom, want: "no room"},
		"late":         {late: noRoom, want: "no room"},
		"no answer":    {refused: &capacity.GrowError{Reason: "no access", Err: capacity.ErrNoAnswer}},
		"nothing done": {refused: errors.New("another VM has its ID")},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, &scriptedCloud{deleteErr: tc.refused, outcome: tc.late}, func(t *testing.T, p *pools) {
				_ = p.start(t.Context(), "agents", refs, func(error) {})
				time.Sleep(time.Minute) // until the outcome
				synctest.Wait()
				if got := agents(t, p).AwayReason; got != tc.want {
					t.Errorf("it stays away because of %q, want %q", got, tc.want)
				}
			})
		})
	}
}

// While a restart is under way the machine is shown as that, whatever the lists
// say, so that nobody asks for another one.
func TestMachinesUnderWayAreShown(t *testing.T) {
	running := capacity.Instance{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}
	cloud := &scriptedCloud{instances: []capacity.Instance{running}, pool: capacity.Pool{Capacity: 1, Settled: true}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		state := func() capacity.InstanceState { return agents(t, p).Instances[0].State }
		if err := p.restart(t.Context(), "agents", api.FateRestart, []capacity.Ref{{ID: "1", VMID: testVMID}}, func(error) {}); err != nil {
			t.Fatal(err)
		}
		var shown []capacity.InstanceState
		shown = append(shown, state())
		p.refresh(t.Context())
		shown = append(shown, state())
		time.Sleep(61 * time.Second)
		p.refresh(t.Context())
		shown = append(shown, state())
		want := []capacity.InstanceState{capacity.InstanceRestarting, capacity.InstanceRestarting, capacity.InstanceRunning}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("shown at once, in the next list, and when it is over (-want +got):\n%s", diff)
		}
		if got := agents(t, p).Capacity; got != 1 {
			t.Errorf("capacity %d, want 1 as before", got)
		}
	})
}

// A machine that was deallocated is known to be off before the next list says so:
// a pod that comes in between has it started, and buys none.
func TestDeallocatedIsKnownBeforeTheNextList(t *testing.T) {
	for name, tc := range map[string]struct {
		outcome error
		want    capacity.InstanceState
	}{
		"it is off":          {nil, capacity.InstanceStopped},
		"it is still there?": {errors.New("no answer"), capacity.InstanceRestarting},
	} {
		t.Run(name, func(t *testing.T) {
			running := capacity.Instance{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}
			cloud := &scriptedCloud{instances: []capacity.Instance{running}, pool: capacity.Pool{Capacity: 1, Settled: true}, outcome: tc.outcome}
			inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
				if err := p.restart(t.Context(), "agents", api.FateDeallocate, []capacity.Ref{{ID: "1", VMID: testVMID}}, func(error) {}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(61 * time.Second)
				if got := agents(t, p).Instances[0].State; got != tc.want {
					t.Errorf("shown as %s, want %s", got, tc.want)
				}
				p.refresh(t.Context())
				if got := agents(t, p).Instances[0].State; got != capacity.InstanceRunning {
					t.Errorf("shown as %s, want %s as listed", got, capacity.InstanceRunning)
				}
			})
		})
	}
}

// The old node of a reimaged machine goes once it is published that the machine is to
// join anew: without that node nobody else would know.
func TestAReimagedMachineIsPublishedBeforeItsNodeGoes(t *testing.T) {
	n := restartingNode()
	n.Annotations[api.RestartingAnnotation] = api.Restart{Fate: api.FateReimage, VMID: testVMID, Done: new(metav1.Now())}.Encode()
	w := newWorld(t, open404, interceptor.Funcs{}, n)
	step := commitStep()
	step.Kind, step.Reimaged = capacity.StepForget, true
	planned := func() int {
		o := w.observation()
		_, _ = w.store.fill(&o.snapshot, w.progress.show)
		return len(w.nodeActions(o, capacity.Decision{Steps: []capacity.Step{step}}))
	}
	before := planned()
	status := shownShapes{}.status(capacity.Snapshot{Pools: []capacity.PoolState{{Unjoined: map[string]time.Time{testVMID: time.Now()}}}})
	if err := w.publish(t.Context(), map[string]string{api.StatusKey: encode(status)}); err != nil {
		t.Fatal(err)
	}
	if after := planned(); before != 0 || after != 1 {
		t.Errorf("the node goes in %d steps before the machine is published and %d after, want 0 and 1", before, after)
	}
}

// All that asked for the restart goes in one write: there is no second one.
func TestReturn(t *testing.T) {
	for name, tc := range map[string]struct {
		fate   api.Fate
		done   bool // the cloud had carried it out
		failed bool
		told   string
		// deletes is whether machines of the pool are deleted, not deallocated, from
		// then on.
		deletes bool
	}{
		"back":     {fate: api.FateRestart, told: "Normal Returned why"},
		"given up": {fate: api.FateRestart, failed: true, told: "Warning RestartGivenUp why; ask for it again once its cause is mended"},
		"Azure deallocates no such machine": {
			fate: api.FateDeallocate, failed: true, deletes: true, told: "Warning RestartGivenUp why; machines of its pool are deleted for the time being",
		},
		"not back from a deallocation": {
			fate: api.FateDeallocate, done: true, failed: true, told: "Warning RestartGivenUp why; ask for it again once its cause is mended",
		},
	} {
		t.Run(name, func(t *testing.T) {
			node := restartingNode()
			r := *api.RestartOf(node)
			r.Fate = tc.fate
			if tc.done {
				r.Done = new(metav1.Now())
			}
			node.Annotations[api.RestartingAnnotation] = r.Encode()
			w := newWorld(t, open404, interceptor.Funcs{}, node)
			w.pools.states["agents"] = &poolState{}
			failed := tc.failed
			recorder := &events.FakeRecorder{Events: make(chan string, 10)}
			w.events = recorder
			step := commitStep()
			step.Kind, step.Fate, step.Failed, step.Why = capacity.StepReturn, tc.fate, failed, "why"
			if err := w.perform(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			n := w.node(t)
			if diff := cmp.Diff(map[string]string{api.VMIDAnnotation: testVMID}, n.Annotations); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
			if len(n.Spec.Taints) > 0 || api.FenceToken(n) != "" {
				t.Errorf("still fenced: %v, %v", n.Spec.Taints, n.Labels)
			}
			count := 1.0
			if failed {
				count = 0
			}
			if told := <-recorder.Events; told != tc.told || len(recorder.Events) > 0 {
				t.Errorf("told %q and %d more, want %q", told, len(recorder.Events), tc.told)
			}
			if deletes := !w.pools.states["agents"].DeletesUntil.IsZero(); deletes != tc.deletes {
				t.Errorf("machines are deleted, not deallocated, from now on: %t, want %t", deletes, tc.deletes)
			}
			if got := testutil.ToFloat64(w.metrics.restarted.WithLabelValues("agents")); got != count {
				t.Errorf("%v machines were restarted, want %v", got, count)
			}
		})
	}
}

// What was asked of a machine while it was off is yet to be done, unless its start
// has done it.
func TestReturnOfAMachineThatWasOff(t *testing.T) {
	for name, tc := range map[string]struct {
		asked string
		stays bool
	}{
		"a restart": {"restart", false},
		"a reimage": {"reimage", true},
		"its end":   {"true", true},
	} {
		t.Run(name, func(t *testing.T) {
			n := restartingNode()
			r := *api.RestartOf(n)
			r.Fate = api.FateDeallocate
			n.Annotations[api.RestartingAnnotation], n.Annotations[api.RetireAnnotation] = r.Encode(), tc.asked
			w := newWorld(t, open404, interceptor.Funcs{}, n)
			step := commitStep()
			step.Kind, step.Fate = capacity.StepReturn, api.FateDeallocate
			if err := w.perform(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			if _, stays := w.node(t).Annotations[api.RetireAnnotation]; stays != tc.stays {
				t.Errorf("annotations %v, want the request still there: %t", w.node(t).Annotations, tc.stays)
			}
		})
	}
}
