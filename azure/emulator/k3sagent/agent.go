// Package k3sagent plays the k3s agents on the emulator's machines: a machine
// that has booted joins the cluster as a Node, a machine that is gone leaves
// its Node behind without a heartbeat, as on k3s. KWOK plays the kubelets.
package k3sagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// A failed step is tried again after firstRetry, then ever later up to
// lastRetry: a k3s agent whose server is away goes on asking for ever.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// workers is how many machines join or leave at the same time.
const workers = 4

// Agent plays the agents of all machines. It is an emulator.Observer.
type Agent struct {
	client kubernetes.Interface
	log    *slog.Logger
	// queue holds VMIDs, so that the steps of one machine never overlap.
	queue workqueue.TypedRateLimitingInterface[string]

	mu       sync.Mutex
	machines map[string]machine
	// passwords are by the UIDs of the Nodes.
	passwords map[types.UID]password
}

type machine struct {
	vm emulator.VM
	up bool
}

// password is what a k3s server remembers of the agent that a Node belongs to.
// The agent keeps it on its disk.
type password struct {
	vmID string
	disk int
}

var _ emulator.Observer = (*Agent)(nil)

// New returns an Agent for the cluster. Nothing happens before Run.
func New(client kubernetes.Interface, log *slog.Logger) *Agent {
	return &Agent{
		client: client,
		log:    log,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)),
		machines:  map[string]machine{},
		passwords: map[types.UID]password{},
	}
}

// OnBoot lets the machine join.
func (a *Agent) OnBoot(vm emulator.VM) { a.want(vm, true) }

// OnGone ends the machine's heartbeat.
func (a *Agent) OnGone(vm emulator.VM) { a.want(vm, false) }

func (a *Agent) want(vm emulator.VM, up bool) {
	a.mu.Lock()
	a.machines[vm.VMID] = machine{vm: vm, up: up}
	a.mu.Unlock()
	a.queue.Forget(vm.VMID)
	a.queue.Add(vm.VMID)
}

// Run works until ctx ends.
func (a *Agent) Run(ctx context.Context) {
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for a.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	a.queue.ShutDown()
	done.Wait()
}

func (a *Agent) next(ctx context.Context) bool {
	id, shutdown := a.queue.Get()
	if shutdown {
		return false
	}
	defer a.queue.Done(id)
	a.mu.Lock()
	m, ok := a.machines[id]
	a.mu.Unlock()
	if !ok {
		return true
	}
	step, doing := a.leave, "leave"
	if m.up {
		step, doing = a.join, "join"
	}
	if err := step(ctx, m.vm); err != nil && ctx.Err() == nil {
		a.log.Warn("agent will try again", "doing", doing, "node", NodeName(m.vm), "vmID", id, "error", err)
		a.queue.AddRateLimited(id)
		return true
	}
	a.queue.Forget(id)
	a.forget(id, m)
	return true
}

// forget drops a machine that is done with, unless it was wanted back.
func (a *Agent) forget(id string, done machine) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !done.up && !a.machines[id].up {
		delete(a.machines, id)
	}
}

// errNameTaken is how a k3s server refuses an agent whose host name is that of
// an existing Node with another password; it ends when that Node is deleted.
var errNameTaken = errors.New("node password rejected, duplicate hostname: a Node of this name belongs to another machine, delete it to let this one join")

func (a *Agent) join(ctx context.Context, vm emulator.VM) error {
	nodes := a.client.CoreV1().Nodes()
	old, err := nodes.Get(ctx, NodeName(vm), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		node, err := nodes.Create(ctx, NewNode(vm), metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("register node %s: %w", NodeName(vm), err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.passwords[node.UID] = password{vm.VMID, vm.Disks}
		return nil
	case err != nil:
		return fmt.Errorf("look for node %s: %w", NodeName(vm), err)
	case !owns(vm, old) || !a.admits(old, vm):
		return errNameTaken
	}
	if err := a.heartbeat(ctx, vm, HeartbeatValue); err != nil {
		return err
	}
	return a.reportBoot(ctx, vm)
}

// admits reports whether the machine has the Node's password. That of a Node
// that another process has made is not known here.
func (a *Agent) admits(node *corev1.Node, vm emulator.VM) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.passwords[node.UID]
	return !ok || known == password{vm.VMID, vm.Disks}
}

// reportBoot writes which run of the machine the Node is of.
func (a *Agent) reportBoot(ctx context.Context, vm emulator.VM) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"nodeInfo": map[string]any{"bootID": BootID(vm)}}})
	if err != nil {
		return fmt.Errorf("encode the boot ID of node %s: %w", NodeName(vm), err)
	}
	if _, err := a.client.CoreV1().Nodes().Patch(ctx, NodeName(vm), types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("report the boot ID of node %s: %w", NodeName(vm), err)
	}
	return nil
}

func (a *Agent) leave(ctx context.Context, vm emulator.VM) error {
	node, err := a.client.CoreV1().Nodes().Get(ctx, NodeName(vm), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("look for node %s: %w", NodeName(vm), err)
	case !owns(vm, node):
		return nil
	}
	return a.heartbeat(ctx, vm, nil)
}

// heartbeat sets the annotation, or removes it when value is nil.
func (a *Agent) heartbeat(ctx context.Context, vm emulator.VM, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{HeartbeatAnnotation: value}}})
	if err != nil {
		return fmt.Errorf("encode the heartbeat of node %s: %w", NodeName(vm), err)
	}
	_, err = a.client.CoreV1().Nodes().Patch(ctx, NodeName(vm), types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("change the heartbeat of node %s: %w", NodeName(vm), err)
	}
	return nil
}

// owns reports whether the Node is that of the machine.
func owns(vm emulator.VM, node *corev1.Node) bool {
	return strings.EqualFold(node.Status.NodeInfo.SystemUUID, SystemUUID(vm))
}
