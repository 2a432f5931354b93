package capacity

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

const (
	tick      = 2 * time.Second
	boots     = 30 * time.Second
	deletes   = 10 * time.Second
	longest   = 4 * time.Hour
	worldIdle = time.Minute
)

// world is a cluster in which every part does at once, tick by tick, what it
// is asked to; only that some of what is asked is lost, as with conflicts and
// crashes.
type world struct {
	t     *testing.T
	dice  *rand.Rand
	loss  float64
	state Snapshot
	pods  []Pod
	later []Pod // pods that are yet to be submitted
	runs  map[string]time.Duration

	born      int                  // machines ever bought
	going     map[string]time.Time // when the deletion of a VM was accepted
	releases  map[string]int       // pods released, by node
	takenBack map[string]int       // retirements taken back, by node
}

func TestEverythingRunsAndEveryIdleMachineGoes(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for !w.quiet() {
				w.tick()
				if w.state.Now.Sub(now) > longest {
					t.Fatalf("still not quiet after %s: %d machines, unfinished %v", longest, w.machines(), w.unfinished())
				}
			}
			for node, n := range w.takenBack {
				if n > w.releases[node]+1 {
					t.Errorf("the retirement of %s was taken back %d times for %d pods", node, n, w.releases[node])
				}
			}
		})
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	short := func(p *PoolState) { idle := worldIdle; p.Settings.IdleAfter, p.BootTime = &idle, boots }
	w := &world{
		t: t, dice: r, loss: []float64{0, 0.3}[seed%2],
		state: Snapshot{Now: now, Settle: 10 * time.Second, Pools: pools(
			poolOf("agents", 0, short, bounds(int(seed%3)/2, 4)),
			poolOf("big", 0, short, bounds(0, 2), offering(machineOf(16)))),
			Nodes: nodes(node("server", outside, keep, func(n *Node) { n.Allocatable = machineOf(1) })),
		},
		runs:  map[string]time.Duration{},
		going: map[string]time.Time{}, releases: map[string]int{}, takenBack: map[string]int{},
	}
	submit := func(name string, cpu float64, after time.Duration, changes ...func(*Pod)) {
		w.later = append(w.later, pod(name, cpu, append(changes, func(p *Pod) { p.Created = now.Add(after) })...))
		w.runs[name] = 5*time.Second + time.Duration(r.IntN(300))*time.Second
	}
	for i := range 30 {
		submit(fmt.Sprintf("single-%02d", i), float64(1+r.IntN(8)), time.Duration(r.IntN(1800))*time.Second)
	}
	for g := range 3 {
		after, size := time.Duration(r.IntN(1800))*time.Second, 2+r.IntN(3)
		for i := range size {
			submit(fmt.Sprintf("gang-%d-%d", g, i), 6, after+time.Duration(i)*tick, gang(fmt.Sprint(g), size))
		}
	}
	// What can never run must not keep anything from running or going.
	submit("giant", 99, 0, priority(1))
	for i := range 12 {
		submit(fmt.Sprintf("crowd-%d", i), 8, 0, gang("crowd", 12), priority(1))
	}
	return w
}

func (w *world) tick() {
	w.state.Now = w.state.Now.Add(tick)
	w.later = slices.DeleteFunc(w.later, func(p Pod) bool {
		if p.Created.After(w.state.Now) {
			return false
		}
		w.pods = append(w.pods, p)
		return true
	})
	for i := range w.state.Pools {
		w.cloud(&w.state.Pools[i])
	}
	w.kubelets()
	w.scheduler()
	w.state.SetPods(pointers(w.pods))
	w.apply(Plan(w.state))
}

// cloud lets machines appear, boot and disappear.
func (w *world) cloud(po *PoolState) {
	live := 0
	for i := range po.Instances {
		vm := &po.Instances[i]
		if vm.State == InstanceDeleting {
			continue
		}
		live++
		if vm.State == InstanceCreating && w.state.Now.Sub(vm.Created) >= boots {
			vm.State = InstanceRunning
			name := vm.ComputerName
			n := node(name, notAdopted, notReady, func(n *Node) {
				n.Pool, n.Created, n.Shape.Allocatable = po.Name, w.state.Now, po.Shape.Allocatable
			})
			w.state.Nodes = append(w.state.Nodes, &n)
		}
	}
	for ; live < po.Capacity; live++ {
		vm := instance(fmt.Sprintf("%s-%d", po.Name, w.born))
		vm.ComputerName = fmt.Sprintf("%s-%d", po.Name, w.born)
		vm.State, vm.Created = InstanceCreating, w.state.Now
		po.Instances = append(po.Instances, vm)
		w.born++
	}
	po.Instances = slices.DeleteFunc(po.Instances, func(vm Instance) bool {
		return vm.State == InstanceDeleting && w.state.Now.Sub(w.going[vm.VMID]) >= deletes
	})
}

// kubelets make nodes ready, run pods to their end, and fall silent with their
// machines. They also show each node the machine that it is.
func (w *world) kubelets() {
	machines := map[string]Instance{}
	for _, po := range w.state.Pools {
		for _, vm := range po.Instances {
			machines[vm.ComputerName] = vm
		}
	}
	for i := range w.state.Nodes {
		n := w.state.Nodes[i]
		n.Instance = machines[n.Name]
		n.Ready = n.Name == "server" || n.Instance.State == InstanceRunning
	}
	w.pods = slices.DeleteFunc(w.pods, func(p Pod) bool {
		if p.Node == "" {
			return false
		}
		if n := w.node(p.Node); n == nil || !n.Ready {
			w.t.Errorf("%s was killed with node %s", p.Key.Name, p.Node)
		}
		return !w.state.Now.Before(p.Bound.Add(w.runs[p.Key.Name]))
	})
}

// scheduler binds what was released. In lockstep there is always room on the
// node that was planned.
func (w *world) scheduler() {
	for i := range w.pods {
		p := &w.pods[i]
		if p.Gated || p.Node != "" {
			continue
		}
		n := w.node(p.Nominated)
		free := n.Allocatable
		for _, other := range w.pods {
			if other.Node == n.Name {
				free = free.Sub(other.Class.Requests)
			}
		}
		if !free.Holds(p.Class.Requests) || n.Retirement != nil || n.Fence != "" {
			w.t.Errorf("%s was released to %s without room there", p.Key.Name, n.Name)
			continue
		}
		p.Node, p.Bound = n.Name, w.state.Now
	}
}

// apply does what was decided, unless it is lost.
func (w *world) apply(d Decision) {
	lost := func() bool { return w.dice.Float64() < w.loss }
	for _, r := range d.Releases {
		if lost() {
			continue
		}
		i := slices.IndexFunc(w.pods, func(p Pod) bool { return p.UID == r.UID })
		released(r.Node)(&w.pods[i])
		w.releases[r.Node]++
	}
	for _, g := range d.Grows {
		po := find(w.state.Pools, g.Pool)
		if g.To > po.Settings.Max {
			w.t.Errorf("%s grows to %d", g.Pool, g.To)
		}
		if !lost() {
			po.Capacity = g.To
		}
	}
	for _, s := range d.Steps {
		if !lost() {
			w.step(s)
		}
	}
}

func (w *world) step(s Step) {
	n := w.node(s.Node)
	stamp := metav1.NewTime(w.state.Now)
	switch s.Kind {
	case StepAdopt:
		n.Recorded = s.Instance.VMID
	case StepMark:
		n.Retirement = &api.Retirement{Since: stamp}
	case StepRecordEmpty:
		n.Retirement = &api.Retirement{EmptySince: &stamp}
	case StepRecordBusy:
		n.Retirement = &api.Retirement{}
	case StepUnmark, StepUnfence:
		w.takenBack[n.Name]++
		n.Retirement, n.Fence, n.Taints, n.Proving, n.Proved = nil, "", nil, time.Time{}, time.Time{}
	case StepFence:
		n.Fence = "token"
		n.Taints = append(n.Taints, api.FenceTaint())
	case StepProve:
		n.Proving, n.Proved = w.state.Now, w.state.Now
	case StepCommit:
		n.Deleting = s.Instance.VMID
	case StepDelete:
		po := find(w.state.Pools, s.Pool)
		i := slices.IndexFunc(po.Instances, func(vm Instance) bool { return vm.VMID == s.Instance.VMID })
		po.Instances[i].State = InstanceDeleting
		po.Capacity--
		w.going[s.Instance.VMID] = w.state.Now
	case StepForget:
		w.state.Nodes = slices.DeleteFunc(w.state.Nodes, func(n *Node) bool { return n.Name == s.Node })
	}
}

func (w *world) node(name string) *Node {
	for i := range w.state.Nodes {
		if w.state.Nodes[i].Name == name {
			return w.state.Nodes[i]
		}
	}
	return nil
}

func (w *world) machines() int {
	n := 0
	for _, po := range w.state.Pools {
		n += len(po.Instances)
	}
	return n
}

// unfinished are the pods that could run and have not ended.
func (w *world) unfinished() []string {
	var names []string
	for _, p := range append(slices.Clone(w.later), w.pods...) {
		if p.Priority == 0 {
			names = append(names, p.Key.Name)
		}
	}
	return names
}

// quiet: all that can run has ended, and all machines but the minimum are gone.
func (w *world) quiet() bool {
	minimum := 0
	for _, po := range w.state.Pools {
		minimum += po.Settings.Min
	}
	return len(w.unfinished()) == 0 && w.machines() == minimum && len(w.state.Nodes) == minimum+1
}
