package replay

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/manager"
)

// world is a cluster in virtual time: what the planner decides is done at once,
// machines take their time to boot and to go, and pods end when the trace says.
type world struct {
	now     time.Time
	events  []event // in the order of their times
	planner capacity.Memory
	pools   []capacity.PoolState
	nodes   []*capacity.Node
	waiting []*capacity.Pod
	runs    map[types.UID]time.Duration
	// hints is true if the planner knows how long pods run.
	hints bool
	bills map[string]*Bill
}

func newWorld(hints bool) *world {
	return &world{now: time.Unix(0, 0).UTC(), hints: hints, runs: map[types.UID]time.Duration{}, bills: map[string]*Bill{}}
}

// bill is that of the pool with the name.
func (w *world) bill(pool string) *Bill {
	if w.bills[pool] == nil {
		w.bills[pool] = &Bill{Pool: pool}
	}
	return w.bills[pool]
}

// submit has the pod come when it is created, and run for that long once it is
// released.
func (w *world) submit(pod *capacity.Pod, run time.Duration) {
	w.runs[pod.UID] = run
	w.at(pod.Created, func() { w.waiting = append(slices.Clone(w.waiting), pod) })
}

// run lets time pass until nothing happens any more.
func (w *world) run() error {
	for {
		next, err := w.settle()
		if err != nil {
			return err
		}
		if len(w.events) > 0 && (next.IsZero() || w.events[0].at.Before(next)) {
			next = w.events[0].at
		}
		switch {
		case !next.IsZero():
		case len(w.waiting)+len(w.nodes) > 0:
			return fmt.Errorf("at the end %d pods still wait and %d machines are left", len(w.waiting), len(w.nodes))
		default:
			return nil
		}
		w.now = next
		for len(w.events) > 0 && !w.events[0].at.After(w.now) {
			next := w.events[0]
			w.events = w.events[1:]
			next.happens()
		}
	}
}

// mostPlans is how many plans in a row may follow from each other at one moment.
const mostPlans = 1000

// settle plans until there is nothing to do at this moment, and returns when time
// alone may change that.
func (w *world) settle() (time.Time, error) {
	for range mostPlans {
		d := w.planner.Plan(capacity.Snapshot{Now: w.now, Settle: manager.DefaultSettle, Pools: w.pools, Nodes: w.nodes, Waiting: w.waiting})
		if len(d.Releases)+len(d.Grows)+len(d.Steps) == 0 {
			return d.NextLook, nil
		}
		for _, r := range d.Releases {
			w.release(r)
		}
		for _, g := range d.Grows {
			w.grow(g)
		}
		for _, s := range d.Steps {
			if err := w.step(s); err != nil {
				return time.Time{}, err
			}
		}
	}
	return time.Time{}, fmt.Errorf("at %s there was still something to do after %d plans", w.now, mostPlans)
}

// release starts the pod on the node that it was planned for.
func (w *world) release(r capacity.Release) {
	i := slices.IndexFunc(w.waiting, func(p *capacity.Pod) bool { return p.UID == r.UID })
	pod := *w.waiting[i]
	w.waiting = slices.Delete(slices.Clone(w.waiting), i, i+1)
	pod.Gated, pod.Released, pod.Node, pod.Bound = false, true, r.Node, w.now
	ends := w.now.Add(w.runs[pod.UID])
	if w.hints {
		pod.Ends = ends
	}
	b := w.bill(pod.Class.Pool)
	b.Waits = append(b.Waits, w.now.Sub(pod.Created))
	w.change(r.Node, func(n *capacity.Node) { n.Load = capacity.NewLoad(append(slices.Clone(pods(n)), &pod)) })
	w.at(ends, func() {
		w.change(r.Node, func(n *capacity.Node) {
			n.Freed = w.now
			n.Load = capacity.NewLoad(slices.DeleteFunc(slices.Clone(pods(n)), func(p *capacity.Pod) bool { return p.UID == r.UID }))
		})
	})
}

func pods(n *capacity.Node) []*capacity.Pod {
	if n.Load == nil {
		return nil
	}
	return n.Load.Pods
}

// grow buys machines, which are nodes once they have booted.
func (w *world) grow(g capacity.Grow) {
	pool := w.pool(g.Pool)
	pool.Capacity, pool.Asked = g.To, w.now
	for range g.To - g.From {
		b := w.bill(g.Pool)
		b.Machines++
		name := fmt.Sprintf("%s-%06d", g.Pool, b.Machines)
		machine := capacity.Instance{ID: name, VMID: name, ComputerName: name, State: capacity.InstanceCreating, Created: w.now}
		pool.Instances = append(slices.Clone(pool.Instances), machine)
		w.at(w.now.Add(pool.BootTime), func() { w.join(g.Pool, machine) })
	}
}

func (w *world) join(pool string, machine capacity.Instance) {
	machine.State = capacity.InstanceRunning
	po := w.pool(pool)
	po.Instances = replaced(po.Instances, machine)
	n := &capacity.Node{
		Name: machine.ID, UID: types.UID(machine.ID), Shape: *po.Shape, Pool: pool,
		Instance: machine, Recorded: machine.VMID, Ready: true, Created: w.now,
	}
	w.nodes = append(slices.Clone(w.nodes), n)
}

// step takes a node one step on.
func (w *world) step(s capacity.Step) error {
	switch s.Kind {
	case capacity.StepMark:
		w.retirement(s.Node, func(r *api.Retirement) { *r = api.Retirement{Reason: s.Why, Since: metav1.NewTime(w.now)} })
	case capacity.StepRecordEmpty:
		since := metav1.NewTime(cmp.Or(s.Since, w.now))
		w.retirement(s.Node, func(r *api.Retirement) { r.EmptySince = &since })
	case capacity.StepRecordBusy:
		w.retirement(s.Node, func(r *api.Retirement) { r.EmptySince = nil })
	case capacity.StepUnmark, capacity.StepUnfence:
		w.change(s.Node, func(n *capacity.Node) {
			n.Retirement, n.Fence, n.Proving, n.Proved = nil, "", time.Time{}, time.Time{}
		})
	case capacity.StepFence:
		w.change(s.Node, func(n *capacity.Node) { n.Fence = "token" })
	case capacity.StepProve:
		w.change(s.Node, func(n *capacity.Node) { n.Proving, n.Proved = w.now, w.now })
	case capacity.StepCommit:
		w.change(s.Node, func(n *capacity.Node) { n.Deleting = n.Instance.VMID })
	case capacity.StepDelete:
		w.delete(s)
	case capacity.StepForget:
		w.nodes = slices.DeleteFunc(slices.Clone(w.nodes), func(n *capacity.Node) bool { return n.Name == s.Node })
	default:
		return fmt.Errorf("node %s: a replay has no step %q", s.Node, s.Kind)
	}
	return nil
}

// deletion is how long a machine takes to go once its deletion was accepted. It
// is paid for until then.
const deletion = 30 * time.Second

func (w *world) delete(s capacity.Step) {
	machine, pool := s.Instance, w.pool(s.Pool)
	machine.State = capacity.InstanceDeleting
	pool.Capacity--
	pool.Instances = replaced(pool.Instances, machine)
	w.change(s.Node, func(n *capacity.Node) { n.Instance = machine })
	w.at(w.now.Add(deletion), func() {
		pool := w.pool(s.Pool)
		pool.Instances = slices.DeleteFunc(slices.Clone(pool.Instances), func(i capacity.Instance) bool { return i.ID == machine.ID })
		w.bill(s.Pool).Paid += w.now.Sub(machine.Created)
	})
}

func (w *world) pool(name string) *capacity.PoolState {
	return &w.pools[slices.IndexFunc(w.pools, func(p capacity.PoolState) bool { return p.Name == name })]
}

// change puts a changed copy in the node's place: the planner takes nodes for
// the same as long as their pointers are.
func (w *world) change(name string, change func(*capacity.Node)) {
	i := slices.IndexFunc(w.nodes, func(n *capacity.Node) bool { return n.Name == name })
	n := *w.nodes[i]
	change(&n)
	w.nodes = slices.Clone(w.nodes)
	w.nodes[i] = &n
}

func (w *world) retirement(name string, change func(*api.Retirement)) {
	w.change(name, func(n *capacity.Node) {
		var r api.Retirement
		if n.Retirement != nil {
			r = *n.Retirement
		}
		change(&r)
		n.Retirement = &r
	})
}

func replaced(machines []capacity.Instance, m capacity.Instance) []capacity.Instance {
	machines = slices.Clone(machines)
	machines[slices.IndexFunc(machines, func(i capacity.Instance) bool { return i.ID == m.ID })] = m
	return machines
}

// event is something that will happen.
type event struct {
	at      time.Time
	happens func()
}

// at has something happen then, after what happens at the same time already.
func (w *world) at(t time.Time, happens func()) {
	i, _ := slices.BinarySearchFunc(w.events, t, func(e event, t time.Time) int {
		return cmp.Or(e.at.Compare(t), -1)
	})
	w.events = slices.Insert(w.events, i, event{at: t, happens: happens})
}
