package manager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// claims are what ready nodes say of themselves.
func claims(of ...string) func() map[string]bool {
	return func() map[string]bool {
		claimed := map[string]bool{}
		for _, c := range of {
			claimed[c] = true
		}
		return claimed
	}
}

// A machine that was seen young and was no ready node since is known to have never
// joined, also to the next leader; of all others nobody knows.
func TestWatchedMachines(t *testing.T) {
	const other = "99999999-2222-3333-4444-555555555555"
	vm := func(id, vmid string, age time.Duration) capacity.Instance {
		return capacity.Instance{ID: id, VMID: vmid, ComputerName: "AGENTS00000" + id, State: capacity.InstanceRunning, Created: time.Now().Add(-age)}
	}
	joining := func(vmid string) map[string]metav1.Time {
		return map[string]metav1.Time{vmid: metav1.NewTime(time.Now().Add(-time.Hour))}
	}
	for name, tc := range map[string]struct {
		age       time.Duration // when it is first listed
		published map[string]metav1.Time
		ready     []string // VMIDs and names of the nodes that are
		want      []string
	}{
		"young":                                 {age: time.Minute, want: []string{testVMID}},
		"old when it is first listed":           {age: time.Hour},
		"old, and an earlier leader watched it": {age: time.Hour, published: joining(testVMID), want: []string{testVMID}},
		"it joins":                              {age: time.Minute, ready: []string{testVMID, "n"}},
		"a node has its name":                   {age: time.Minute, ready: []string{"agents000001"}},
		"another joins":                         {age: time.Minute, ready: []string{other, "agents000002"}, want: []string{testVMID}},
		"an earlier leader watched one that is gone": {age: time.Minute, published: joining(other), want: []string{testVMID}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{pool: capacity.Pool{Settled: true, Capacity: 1}}
			inVirtualTime(t, cloud, func(t *testing.T, _ *pools) {
				p := newPools(cloud, time.Now, logr.Discard(), func() {})
				p.restore(api.Status{Pools: []api.PoolStatus{{Name: "agents", Joining: tc.published}}})
				cloud.instances = []capacity.Instance{vm("1", testVMID, tc.age)}
				p.refresh(t.Context())
				joined := p.setNodes(nil, false, claims(tc.ready...), nil)
				if want := tc.ready != nil && tc.want == nil; joined != want {
					t.Errorf("said that a watched machine has joined: %t, want %t", joined, want)
				}
				p.refresh(t.Context()) // what has joined once has not "never joined"
				p.setNodes(nil, false, claims(), nil)
				time.Sleep(time.Hour)
				p.refresh(t.Context())
				got := slices.Sorted(maps.Keys(agents(t, p).Unjoined))
				if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("known to have never joined (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A machine whose node has never been ready is watched on: it is as good as one that
// never joined.
func TestOnlyAReadyNodeHasJoined(t *testing.T) {
	for name, tc := range map[string]struct {
		node *corev1.Node
		want int // machines that are watched
	}{
		"ready":     {node: joined(nil)},
		"not ready": {node: joined(func(n *corev1.Node) { n.Status.Conditions = nil }), want: 1},
		"another":   {node: joined(func(n *corev1.Node) { n.Name, n.Status.NodeInfo.SystemUUID = "other", "other" }), want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			machine := capacity.Instance{ID: "1", VMID: testVMID, ComputerName: "AGENTS000001", State: capacity.InstanceRunning, Created: time.Now()}
			w, _ := observed(t, &scriptedCloud{pool: tagged(), instances: []capacity.Instance{machine}}, tc.node)
			o, err := w.observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := len(o.snapshot.Pools[0].Unjoined); got != tc.want {
				t.Errorf("%d machines are watched, want %d", got, tc.want)
			}
		})
	}
}

// A reimaged machine is watched from its reimage on, although its old node has its
// VMID and its name, also by the next leader, until a node joins that is it.
func TestReimagedMachinesAreWatched(t *testing.T) {
	old := capacity.Instance{ID: "1", VMID: testVMID, ComputerName: "AGENTS000001", State: capacity.InstanceRunning, Created: time.Now().Add(-time.Hour)}
	cloud := &scriptedCloud{pool: capacity.Pool{Settled: true, Capacity: 1}, instances: []capacity.Instance{old}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		watched := func(p *pools, want map[string]time.Time, when string) {
			t.Helper()
			p.refresh(t.Context())
			if diff := cmp.Diff(want, agents(t, p).Unjoined, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("watched %s (-want +got):\n%s", when, diff)
			}
		}
		node := claims(testVMID, "agents000001")
		p.setNodes(nil, false, node, nil)
		watched(p, nil, "while it is a node")

		reimaged := map[string]time.Time{testVMID: time.Now().Truncate(time.Second).UTC()}
		if !p.setNodes(nil, false, node, reimaged) || p.setNodes(nil, false, node, reimaged) {
			t.Error("the reimage is no news, or it is twice")
		}
		watched(p, reimaged, "once it was reimaged")
		p.setNodes(nil, false, claims(), nil)
		watched(p, reimaged, "when its old node is gone")

		next := newPools(cloud, time.Now, logr.Discard(), func() {})
		next.restore(shownShapes{}.status(capacity.Snapshot{Now: time.Now(), Pools: p.snapshot()}))
		watched(next, reimaged, "by the next leader")

		p.setNodes(nil, false, claims(testVMID, "agents000002"), nil)
		watched(p, nil, "when it has joined again")
	})
}

func TestRepairsAreRememberedForAnHour(t *testing.T) {
	inVirtualTime(t, &scriptedCloud{pool: capacity.Pool{Settled: true}}, func(t *testing.T, p *pools) {
		p.repaired("agents", "vm-1", "vm-2")
		time.Sleep(50 * time.Minute)
		p.repaired("agents", "vm-3")
		p.learnTaint("agents", true)
		next := newPools(p.cloud, time.Now, p.log, p.changed)
		next.restore(shownShapes{}.status(capacity.Snapshot{Now: time.Now(), Pools: p.snapshot()}))
		next.refresh(t.Context())
		if got := agents(t, next); len(got.Repairs) != 3 || !got.Tainted {
			t.Errorf("the next leader knows of %d repairs, joins tainted: %t; want 3 and true", len(got.Repairs), got.Tainted)
		}
		time.Sleep(20 * time.Minute)
		p.repaired("agents", "vm-4")
		if got := agents(t, p).Repairs; len(got) != 2 {
			t.Errorf("%d repairs are remembered, want those 2 of the last hour", len(got))
		}
	})
}

// A machine that takes several attempts to delete counts once: others that never
// were broken must not keep the pool from growing.
func TestAMachineCountsOnceAsGivenUp(t *testing.T) {
	cloud := &scriptedCloud{pool: capacity.Pool{Settled: true, Capacity: 1}, instances: []capacity.Instance{{ID: "1", VMID: testVMID}}}
	inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
		p.refresh(t.Context())
		first, second := p.repaired("agents", testVMID), p.repaired("agents", testVMID, "other")
		if got := len(agents(t, p).Repairs); first != 1 || second != 1 || got != 2 {
			t.Errorf("%d and %d machines are news, %d repairs are remembered; want 1, 1 and 2", first, second, got)
		}
	})
}

// deletions is a cloud that notes what it is to delete.
type deletions struct {
	scriptedCloud
	ids []string
}

func (d *deletions) Delete(_ context.Context, _ string, refs []capacity.Ref) (func(context.Context) error, error) {
	for _, ref := range refs {
		d.ids = append(d.ids, ref.ID+" "+ref.VMID)
	}
	return d.wait, d.deleteErr
}

// A machine that joins after it was given up gets no pods: its deletion may be
// under way. If the cloud refuses that, it does.
func TestAGivenUpMachineKeepsItsTaint(t *testing.T) {
	for name, tc := range map[string]struct {
		refused error
		taints  int
	}{
		"its deletion is under way": {taints: 1},
		"the cloud refused":         {refused: errors.New("403 no role")},
		"the cloud gave no answer":  {refused: fmt.Errorf("reset: %w", capacity.ErrNoAnswer), taints: 1},
	} {
		t.Run(name, func(t *testing.T) {
			joins := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agents000001", UID: "uid-node"}}
			joins.Spec.Taints = []corev1.Taint{{Key: api.StartupTaint, Effect: corev1.TaintEffectNoSchedule}}
			joins.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
			w := newWorld(t, open404, interceptor.Funcs{}, joins)
			cloud := &deletions{}
			cloud.deleteErr = tc.refused
			w.pools = newPools(cloud, time.Now, w.log, func() {})
			machine := capacity.Instance{ID: "1", VMID: testVMID, ComputerName: "AGENTS000009", State: capacity.InstanceRunning}
			if err := w.repair(t.Context(), "agents", []capacity.Repair{{Pool: "agents", Instance: machine}}); !errors.Is(err, tc.refused) {
				t.Fatalf("error %v, want %v", err, tc.refused)
			}
			step := commitStep()
			step.Kind, step.Instance = capacity.StepAdopt, machine
			if err := w.perform(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			if got := len(w.node(t).Spec.Taints); got != tc.taints {
				t.Errorf("%d taints are left, want %d", got, tc.taints)
			}
			if err := w.perform(t.Context(), w.node(t), step); tc.taints > 0 && !errors.Is(err, errNotYet) {
				t.Errorf("error %v, want that nothing is written to it again and again", err)
			}
		})
	}
}

// A machine that is given up counts once, however many plans had it given up.
func TestAMachineIsGivenUpOnce(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	cloud := &deletions{scriptedCloud: scriptedCloud{pool: capacity.Pool{Name: "agents", Settled: true}}}
	synctest.Test(t, func(t *testing.T) {
		p := newPools(cloud, time.Now, w.log, func() {})
		p.refresh(t.Context())
		w.pools = p
		repairs := []capacity.Repair{{Pool: "agents", Instance: capacity.Instance{ID: "1", VMID: testVMID}}}
		for range 2 {
			if err := w.repair(t.Context(), "agents", repairs); err != nil {
				t.Fatal(err)
			}
		}
		if got := agents(t, p).Repairs; len(got) != 1 || len(cloud.ids) != 1 {
			t.Errorf("%d repairs are remembered, the cloud was asked to delete %v; want one and one machine", len(got), cloud.ids)
		}
		time.Sleep(2 * time.Minute) // for the outcome that is still awaited
	})
}

// A node whose machine goes by somebody's hand is recorded, and gets no pods.
func TestAMachineThatGoesKeepsItsTaint(t *testing.T) {
	joins := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agents000001", UID: "uid-node"}}
	joins.Spec.Taints = []corev1.Taint{{Key: api.StartupTaint, Effect: corev1.TaintEffectNoSchedule}}
	joins.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	w := newWorld(t, open404, interceptor.Funcs{}, joins)
	step := commitStep()
	step.Kind, step.Instance.State = capacity.StepAdopt, capacity.InstanceDeleting
	if err := w.perform(t.Context(), w.node(t), step); err != nil {
		t.Fatal(err)
	}
	if n := w.node(t); len(n.Spec.Taints) != 1 || n.Annotations[api.VMIDAnnotation] != testVMID {
		t.Errorf("taints %v, annotations %v, want the startup taint still and its machine recorded", n.Spec.Taints, n.Annotations)
	}
}

// That a machine is given up is published before the cloud is asked: the next leader,
// too, gives its node no pods while its deletion may be under way.
func TestAMachineIsPublishedBeforeItIsGivenUp(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	w.pools.err = nil
	machine := capacity.Instance{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}
	o := w.observation()
	o.snapshot.Pools = []capacity.PoolState{{Pool: capacity.Pool{Name: "agents"}, Instances: []capacity.Instance{machine}, Unjoined: map[string]time.Time{testVMID: time.Now()}}}
	planned := capacity.Decision{Repairs: []capacity.Repair{{Pool: "agents", Instance: machine}}}
	publish := func() {
		t.Helper()
		if err := w.publish(t.Context(), w.publisher.data(o, nil, w.givenUp.published())); err != nil {
			t.Fatal(err)
		}
	}
	publish() // it is known to be on its way
	before := len(w.repairActions(o, planned))
	publish()
	after := len(w.repairActions(o, planned))
	if before != 0 || after != 1 || w.givenUp.has(testVMID) {
		t.Errorf("the cloud is asked %d times before it is published and %d after, asked already: %t; want 0, 1, and false", before, after, w.givenUp.has(testVMID))
	}

	// The next leader knows, before it has read the pools; and the one after it does
	// not count from anew.
	next := newWorld(t, open404, interceptor.Funcs{})
	next.publisher = w.publisher
	var since []time.Time
	for _, after := range []time.Duration{time.Minute, time.Hour} {
		next.now = func() time.Time { return created.Add(after) }
		status, err := next.publisher.load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		next.restore(status)
		next.repairActions(next.observation(), capacity.Decision{})
		since = append(since, next.givenUp.published()[testVMID].Time)
		if err := next.publish(t.Context(), next.publisher.data(o, nil, next.givenUp.published())); err != nil {
			t.Fatal(err)
		}
	}
	if want := created.Add(time.Minute); !since[0].Equal(want) || !since[1].Equal(want) {
		t.Errorf("to the next leaders it is given up since %s, want %s", since, want)
	}

	w.repairActions(o, capacity.Decision{}) // it is not after all
	if left := w.givenUp.published(); len(left) > 0 {
		t.Errorf("given up are %v, want none", left)
	}
}

// What is refused now may have been asked for before, without an answer.
func TestARefusalDoesNotTakeBackAnEarlierRequest(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	cloud := &deletions{}
	w.pools = newPools(cloud, time.Now, w.log, func() {})
	repairs := []capacity.Repair{{Pool: "agents", Instance: capacity.Instance{ID: "1", VMID: testVMID}}}
	for _, cloud.deleteErr = range []error{fmt.Errorf("reset: %w", capacity.ErrNoAnswer), errors.New("409 Conflict")} {
		if err := w.repair(t.Context(), "agents", repairs); err == nil {
			t.Error("the cloud refuses, and there is no error")
		}
	}
	if !w.givenUp.has(testVMID) {
		t.Error("the machine counts as kept, although its deletion may be on its way")
	}
}

// The deletion of a given-up machine got no answer, and the machine has joined. It
// serves once it is certain that nobody deletes it.
func TestAGivenUpMachineMayServeAfterAll(t *testing.T) {
	machine := capacity.Instance{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}
	for name, tc := range map[string]struct {
		after time.Duration
		state capacity.InstanceState // "" for a machine that is in no list
		blind bool
		want  bool // still given up
	}{
		"the request may still be on its way": {after: onItsWay - time.Second, state: capacity.InstanceRunning, want: true},
		"it was not carried out":              {after: onItsWay, state: capacity.InstanceRunning},
		"it was":                              {after: onItsWay, state: capacity.InstanceDeleting, want: true},
		"the lists are old":                   {after: onItsWay, state: capacity.InstanceRunning, blind: true, want: true},
		"it is gone":                          {after: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, open404, interceptor.Funcs{})
			if !tc.blind {
				w.pools.err = nil
			}
			asked := time.Now()
			w.givenUp.set(testVMID, asked)
			o := w.observation()
			o.snapshot.Now = asked.Add(tc.after)
			pool := capacity.PoolState{Pool: capacity.Pool{Name: "agents"}}
			if tc.state != "" {
				machine.State = tc.state
				pool.Instances = []capacity.Instance{machine}
			}
			o.snapshot.Pools = []capacity.PoolState{pool}
			w.repairActions(o, capacity.Decision{})
			if got := w.givenUp.has(testVMID); got != tc.want {
				t.Errorf("given up: %t, want %t", got, tc.want)
			}
		})
	}
}

// A machine is given up only if no node that the API server has now may be it.
func TestGivingUpAMachine(t *testing.T) {
	joined := func(change func(*corev1.Node)) []client.Object {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
		change(n)
		return []client.Object{n}
	}
	for name, tc := range map[string]struct {
		nodes   []client.Object
		prepare func(*testing.T, *world)
		refused error
		deleted []string
		told    string
		wantErr bool
	}{
		"no node is it": {nodes: joined(func(n *corev1.Node) { n.Status.NodeInfo.SystemUUID = "something-else" }), deleted: []string{"1 " + testVMID}, told: "MachineGivenUp"},
		"it has joined meanwhile": {
			nodes: joined(func(n *corev1.Node) { n.Status.NodeInfo.SystemUUID = strings.ToUpper(testVMID) }),
		},
		"a node has its name":       {nodes: joined(func(n *corev1.Node) { n.Name = "agents000001" })},
		"a node was recorded as it": {nodes: joined(func(n *corev1.Node) { n.Annotations = map[string]string{api.VMIDAnnotation: testVMID} })},
		"the nodes cannot be read":  {prepare: fails("list", "nodes"), wantErr: true},
		"the cloud refuses":         {refused: errors.New("403 no role"), deleted: []string{"1 " + testVMID}, told: "RepairFailed", wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, open404, interceptor.Funcs{}, tc.nodes...)
			if tc.prepare != nil {
				tc.prepare(t, w)
			}
			recorder := &events.FakeRecorder{Events: make(chan string, 10)}
			w.events = recorder
			cloud := &deletions{}
			cloud.deleteErr = tc.refused
			w.pools = newPools(cloud, time.Now, w.log, func() {})
			machine := capacity.Instance{ID: "1", VMID: testVMID, ComputerName: "AGENTS000001", State: capacity.InstanceRunning}
			err := w.repair(t.Context(), "agents", []capacity.Repair{{Pool: "agents", Instance: machine, Why: "it never joined"}})
			if (err != nil) != tc.wantErr {
				t.Errorf("error %v, want one: %t", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.deleted, cloud.ids); diff != "" {
				t.Errorf("deleted (-want +got):\n%s", diff)
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

// What is not deleted is told of once, with the command that does it.
func TestMachinesThatDoNotJoinAreToldOfOnce(t *testing.T) {
	w := newWorld(t, open404, interceptor.Funcs{})
	recorder := &events.FakeRecorder{Events: make(chan string, 10)}
	w.events = recorder
	d := capacity.Decision{Repairs: []capacity.Repair{{Pool: "agents", Instance: capacity.Instance{ID: "7", VMID: testVMID}, Report: true}}}
	for range 2 {
		if actions := w.repairActions(&observation{}, d); len(actions) != 0 {
			t.Errorf("%d actions, want none", len(actions))
		}
	}
	if len(recorder.Events) != 1 {
		t.Fatalf("%d events, want 1", len(recorder.Events))
	}
	const command = "az vmss delete-instances --resource-group GROUP --name agents --instance-ids 7"
	if told := <-recorder.Events; !strings.Contains(told, "MachineDoesNotJoin") || !strings.Contains(told, command) {
		t.Errorf("told %q, want it to say %q", told, command)
	}
}

// The startup taint goes in the write that adopts the node, unless the node is
// silent: then nothing is to come to it.
func TestAdoptionLiftsTheStartupTaint(t *testing.T) {
	for name, tc := range map[string]struct {
		ready  corev1.ConditionStatus
		lifted bool
	}{
		"a ready node":  {corev1.ConditionTrue, true},
		"a silent node": {corev1.ConditionUnknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			other := corev1.Taint{Key: "team", Effect: corev1.TaintEffectNoSchedule}
			starting := corev1.Taint{Key: api.StartupTaint, Effect: corev1.TaintEffectNoSchedule}
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agents000001", UID: "uid-node"}}
			n.Spec.Taints = []corev1.Taint{starting, other}
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: tc.ready}}
			w := newWorld(t, open404, interceptor.Funcs{}, n)
			s := &poolState{}
			s.Name, s.Listed = "agents", true
			w.pools.states["agents"] = s
			step := commitStep()
			step.Kind = capacity.StepAdopt
			if err := w.perform(t.Context(), w.node(t), step); err != nil {
				t.Fatal(err)
			}
			want := []corev1.Taint{other}
			if !tc.lifted {
				want = []corev1.Taint{starting, other}
			}
			if diff := cmp.Diff(want, w.node(t).Spec.Taints); diff != "" {
				t.Errorf("taints (-want +got):\n%s", diff)
			}
			if !s.Tainted {
				t.Error("that the pool's nodes join with the taint was not learned")
			}
			if s.Shape != nil && len(s.Shape.Taints) != 1 {
				t.Errorf("the next machine is taken to have the taints %v", s.Shape.Taints)
			}
		})
	}
}

// A silent node with work is told of once for each silence.
func TestSilentNodesAreToldOf(t *testing.T) {
	w := newLostWorld(t, nil)
	silence := func(since time.Time, pods int) int {
		node := capacity.Node{Name: "agents000001", UID: "uid-node", Recorded: testVMID}
		node.Ready, node.SilentSince, node.Load = false, since, &capacity.Load{Work: pods}
		o := &observation{store: w.store, changes: w.store.changes}
		o.snapshot.Now, o.snapshot.Nodes = time.Now(), []*capacity.Node{&node}
		w.followSilence(o)
		told := len(w.told.Events)
		for len(w.told.Events) > 0 {
			if text := <-w.told.Events; !strings.Contains(text, "NodeSilent") {
				t.Errorf("told %q, want NodeSilent", text)
			}
		}
		return told
	}
	hour, second := time.Now().Add(-time.Hour), time.Now().Add(-time.Second)
	got := []int{silence(second, 1), silence(hour, 0), silence(hour, 1), silence(hour, 2), silence(hour.Add(time.Minute), 2)}
	if diff := cmp.Diff([]int{0, 0, 1, 0, 1}, got); diff != "" {
		t.Errorf("told of a short silence, one without work, one with, the same again, another one (-want +got):\n%s", diff)
	}
}
