package sim

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/tidegate-k3s/tidegate/agent"
	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// watchEvents lets the agent of the machine run, which is the real one, for as
// long as there is something for it to do: from an announcement until its
// report is withdrawn. One that ended comes back after a while.
func (w *World) watchEvents(vm emulator.VM) {
	if w.watched[vm.VMID] {
		return
	}
	w.watched[vm.VMID] = true
	p := w.startAgent(vm)
	var done time.Time
	w.Loop.Every(5*time.Second, func() bool {
		node := w.Cluster.NodeOf(vm)
		_, up := w.Cluster.Machine(node)
		idle := up && !w.announced(vm) && node.Annotations[api.InterruptionsAnnotation] == ""
		switch {
		case w.over || !w.exists(vm) || idle && !done.IsZero() && time.Since(done) > requestLife:
			p.crash("its work is done")
			delete(w.watched, vm.VMID)
			return false
		case idle:
			if done.IsZero() {
				done = time.Now()
			}
			p.crash("its work is done") // unless what it has sent is yet to arrive
		case !up:
			p.crash("its machine does not run")
		case p.dead.Load():
			p, done = w.startAgent(vm), time.Time{}
		}
		return true
	})
}

func (w *World) exists(vm emulator.VM) bool {
	return slices.ContainsFunc(w.Cloud.VMs(), func(other emulator.VM) bool { return other.VMID == vm.VMID })
}

// startAgent starts the agent of a machine that has joined.
func (w *World) startAgent(vm emulator.VM) *process {
	node := w.Cluster.NodeOf(vm)
	w.starts++
	p := &process{world: w, name: fmt.Sprintf("agent-%d", w.starts), ended: make(chan struct{})}
	p.life, p.kill = context.WithCancel(context.Background())
	a, err := p.agent(node.Name, vm)
	if err != nil {
		panic(fmt.Sprintf("start an agent: %v", err)) // nothing is sent yet, so the options are wrong
	}
	w.agents = append(w.agents, p)
	w.logf("%s starts on node %s", p.name, node.Name)
	go func() {
		defer close(p.ended)
		a.Run(p.life)
	}()
	return p
}

// agent returns the agent of a node's machine, which sends through the process.
func (p *process) agent(node string, vm emulator.VM) (*agent.Agent, error) {
	client, err := kubernetes.NewForConfigAndClient(&rest.Config{
		Host: "https://" + p.world.Cluster.Servers[0].Host, QPS: -1,
	}, &http.Client{Transport: p})
	if err != nil {
		return nil, err
	}
	metadata, err := azure.NewMetadata(azure.Options{IMDSEndpoint: "http://" + imdsHost + emulator.IMDSPath(vm.VMID), Transport: p})
	if err != nil {
		return nil, err
	}
	return agent.New(node, client.CoreV1().Nodes(), metadata, p.logger()), nil
}

// announcement is something that Azure will do to machines.
type announcement struct {
	machines []emulator.VM
	// at is when it happens unless it is approved before, and over when nothing of
	// it is listed any more.
	at, over time.Time
}

// announced reports whether something is or was just announced for the machine.
func (w *World) announced(vm emulator.VM) bool {
	return slices.ContainsFunc(w.announcements, func(a announcement) bool { return time.Now().Before(a.over) && a.covers(vm.VMID) })
}

// pending reports whether something will happen to the machine that an approval
// lets happen now.
func (w *World) pending(vm emulator.VM) bool {
	return slices.ContainsFunc(w.announcements, func(a announcement) bool { return time.Now().Before(a.at) && a.covers(vm.VMID) })
}

func (a *announcement) covers(vmid string) bool {
	return slices.ContainsFunc(a.machines, func(m emulator.VM) bool { return m.VMID == vmid })
}

// happened ends the announcements for a machine: an agent has let them happen.
func (w *World) happened(vmid string) {
	for i := range w.announcements {
		if a := &w.announcements[i]; a.covers(vmid) {
			a.at, a.over = time.Now(), time.Now()
		}
	}
}

// interrupt lets Azure announce something for one or two machines of a pool.
func (w *World) interrupt(time.Duration) {
	r := w.chance
	kind := []string{api.InterruptionPreempt, api.InterruptionTerminate, api.InterruptionReboot, api.InterruptionRedeploy}[r.IntN(4)]
	notice := seconds(r, 45, 150)
	if kind == api.InterruptionPreempt {
		notice = 30 * time.Second
		if r.IntN(3) == 0 {
			notice = time.Second // Azure does its best, and promises nothing
		}
	}
	var up []emulator.VM
	for _, vm := range w.Cloud.VMs() {
		if _, ok := w.Cluster.Machine(w.Cluster.NodeOf(vm)); ok && (len(up) == 0 || vm.Set == up[0].Set) {
			up = append(up, vm)
		}
	}
	if len(up) == 0 {
		return
	}
	r.Shuffle(len(up), func(i, j int) { up[i], up[j] = up[j], up[i] })
	up = up[:min(len(up), 1+r.IntN(2))]
	event := emulator.ScheduledEvent{Type: kind, Set: up[0].Set}
	event.Notice.Duration = notice
	for _, vm := range up {
		event.InstanceIDs = append(event.InstanceIDs, vm.InstanceID)
	}
	if _, err := w.Cloud.Schedule(event); err != nil {
		panic(fmt.Sprintf("announce %+v: %v", event, err)) // the machines are there
	}
	w.logf("Azure announces %s in %s for %v of %s", kind, notice, event.InstanceIDs, event.Set)
	// An event that has happened is listed for a few seconds more.
	at := time.Now().Add(notice)
	w.announcements = append(w.announcements, announcement{machines: up, at: at, over: at.Add(10 * time.Second)})
	for _, vm := range up {
		if !api.Returns(kind) {
			node := w.Cluster.NodeOf(vm)
			w.taken[node.UID], w.takenNames[node.Name] = true, true
		}
		w.watchEvents(vm)
	}
}

// followNode notes what the world wants to know of a node's past.
func (w *World) followNode(before, after *corev1.Node) {
	if before != nil && before.Annotations[api.InterruptionsAnnotation] != "" {
		w.reported[before.UID] = time.Now()
	}
	if vm, up := w.Cluster.Machine(after); up {
		for _, c := range after.Status.Conditions {
			if boot := c.LastTransitionTime.Sub(vm.Created); c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				w.slowestBoot = max(w.slowestBoot, boot)
			}
		}
	}
	if before != nil && api.FenceToken(before) != "" && api.FenceToken(after) == "" && api.RetirementOf(after) != nil {
		w.fail("the fence of %s was taken back, and not its mark", after.Name)
	}
	if after != nil && (before == nil || api.FenceToken(before) != api.FenceToken(after)) {
		w.fenced[after.UID] = time.Now()
	}
}

// evictable reports whether the manager may evict pods from the node: its agent
// reports that Azure will end them anyway, or did when the manager last looked.
func (w *World) evictable(name string) bool {
	node := cluster.Get[*corev1.Node](w.Cluster.Store, "", name)
	if node == nil {
		return false
	}
	return node.Annotations[api.InterruptionsAnnotation] != "" || time.Since(w.reported[node.UID]) < longestLag+requestLife
}

// checkApproval makes sure that nothing is on the machines of an interruption
// that the manager lets happen, but for pods whose bindings were admitted before
// the fence and for which there was no time to settle.
func (w *World) checkApproval(before, after *corev1.Node) {
	for _, i := range api.ApprovedInterruptions(after) {
		if before == nil || contains(api.ApprovedInterruptions(before), i) {
			continue
		}
		for _, node := range cluster.All[*corev1.Node](w.Cluster.Store) {
			vm, up := w.Cluster.Machine(node)
			if !up || !i.Covers(vm.Set+"_"+vm.InstanceID) || !w.pending(vm) {
				continue
			}
			if api.FenceToken(node) == "" {
				w.fail("%s was approved for %s, which has no fence", i.Type, node.Name)
			}
			fenced := w.fenced[node.UID]
			for _, pod := range w.workOn(node) {
				if settled := time.Since(fenced) > requestLife+proofTime; settled || w.bound[pod.UID].Before(fenced) {
					w.fail("%s was approved for %s with pod %s on it", i.Type, node.Name, pod.Name)
				}
			}
		}
	}
}

// proofTime is how long a fence may stand before it is proved.
const proofTime = 30 * time.Second

func contains(list []api.Interruption, i api.Interruption) bool {
	for _, other := range list {
		if i.Same(other) {
			return true
		}
	}
	return false
}
