package cluster

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/azure/emulator/k3sagent"
)

const (
	// rejoin is how often an agent asks again whose name is taken.
	rejoin = 5 * time.Second
	// settleIn is how long a new node takes to become ready, and startUp how
	// long a pod takes to run, both at most.
	settleIn = 5 * time.Second
	startUp  = 3 * time.Second
	// silence is after how long without a heartbeat a node counts as not ready.
	// Source: kube-controller-manager, --node-monitor-grace-period.
	silence = 40 * time.Second
)

var notReady = corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}

// kubelet is the agent on one machine.
type kubelet struct {
	vm   emulator.VM
	up   bool
	node types.UID // "" until it has joined
}

var _ emulator.Observer = (*Cluster)(nil)

// OnBoot lets the machine's agent join. It implements emulator.Observer.
func (c *Cluster) OnBoot(vm emulator.VM) {
	k := &kubelet{vm: vm, up: true}
	c.kubelets[vm.VMID] = k
	c.Loop.In(c.Delays.Join.draw(c.Loop.Random)+c.Hang(vm), func() { c.join(k) })
}

// OnGone takes the machine away, with all that runs on it.
func (c *Cluster) OnGone(vm emulator.VM) {
	k := c.kubelets[vm.VMID]
	if k == nil || !k.up {
		return
	}
	k.up = false
	c.Loop.In(silence, func() {
		// Another run of the machine may speak for the node by now; one from another
		// disk does not.
		if node := c.nodeOf(k); node != nil && c.kubeletOf(node) == nil {
			c.setReady(node.Name, false)
		}
	})
}

func (c *Cluster) nodeOf(k *kubelet) *corev1.Node {
	node := Get[*corev1.Node](c.Store, "", k3sagent.NodeName(k.vm))
	if node == nil || node.UID != k.node {
		return nil
	}
	return node
}

// NodeOf returns the Node that the machine has become, nil for none.
func (c *Cluster) NodeOf(vm emulator.VM) *corev1.Node {
	if k := c.kubelets[vm.VMID]; k != nil {
		return c.nodeOf(k)
	}
	return nil
}

// Joined reports whether the machine has become a node.
func (c *Cluster) Joined(vm emulator.VM) bool {
	k := c.kubelets[vm.VMID]
	return k != nil && k.node != ""
}

// Machine returns the machine that the node runs on while it is up.
func (c *Cluster) Machine(node *corev1.Node) (emulator.VM, bool) {
	k := c.kubeletOf(node)
	if k == nil {
		return emulator.VM{}, false
	}
	return k.vm, true
}

func (c *Cluster) kubeletOf(node *corev1.Node) *kubelet {
	for _, k := range c.kubelets {
		if k.up && node != nil && k.node == node.UID {
			return k
		}
	}
	return nil
}

// join registers the machine's Node, or takes it over after a restart. A k3s
// server refuses an agent whose name is that of a Node with another password,
// which is on the disk of the machine that the Node is.
func (c *Cluster) join(k *kubelet) {
	if !k.up {
		return
	}
	// From here on the request is on its way, whatever becomes of the machine.
	c.Loop.In(c.Delays.Request.draw(c.Loop.Random), func() {
		name := k3sagent.NodeName(k.vm)
		if old := Get[*corev1.Node](c.Store, "", name); old != nil {
			if strings.EqualFold(old.Status.NodeInfo.SystemUUID, k3sagent.SystemUUID(k.vm)) && c.disks[old.UID] == k.vm.Disks {
				k.node = old.UID
				c.changeNode(byKubelet, name, func(n *corev1.Node) { n.Status.NodeInfo.BootID = k3sagent.BootID(k.vm) })
				c.takeOver(name)
				c.Loop.In(settleIn, func() { c.becomeReady(k) })
				return
			}
			c.Loop.In(rejoin, func() { c.join(k) })
			return
		}
		node := k3sagent.NewNode(k.vm)
		node.Spec.Taints = append(node.Spec.Taints, notReady)
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse, LastTransitionTime: now()}}
		c.Create(byKubelet, node)
		k.node, c.disks[node.UID] = node.UID, k.vm.Disks
		c.takeOver(name)
		c.Loop.In(time.Duration(c.Loop.Random.Int64N(int64(settleIn))), func() { c.becomeReady(k) })
	})
}

// takeOver lets the kubelet see to what is bound to its node already: it landed
// while the machine was down, or on an earlier node of the name.
func (c *Cluster) takeOver(node string) {
	for _, pod := range All[*corev1.Pod](c.Store) {
		delay := time.Duration(c.Loop.Random.Int64N(int64(startUp)))
		switch {
		case pod.Spec.NodeName != node || finished(pod):
		case pod.DeletionTimestamp != nil:
			c.Loop.In(delay, func() { c.stop(pod) })
		default:
			c.Loop.In(delay, func() { c.run(pod) })
		}
	}
}

func (c *Cluster) becomeReady(k *kubelet) {
	if node := c.nodeOf(k); node != nil && k.up {
		c.setReady(node.Name, true)
	}
}

func (c *Cluster) setReady(name string, ready bool) {
	c.changeNode(byKubelet, name, func(n *corev1.Node) {
		status := corev1.ConditionUnknown
		var taints []corev1.Taint
		for _, t := range n.Spec.Taints {
			if t.Key != notReady.Key {
				taints = append(taints, t)
			}
		}
		if ready {
			status = corev1.ConditionTrue
		} else {
			taints = append(taints, notReady)
		}
		n.Spec.Taints = taints
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastTransitionTime: now()}}
	})
}

// watchPods lets kubelets run what is bound to their nodes, and stop what is
// deleted.
func (c *Cluster) watchPods() {
	c.Store.Watch(func(e Event) {
		pod, ok := e.New.(*corev1.Pod)
		if !ok || pod.Spec.NodeName == "" {
			return
		}
		before, _ := e.Old.(*corev1.Pod)
		delay := c.Delays.Watch.draw(c.Loop.Random) + time.Duration(c.Loop.Random.Int64N(int64(startUp)))
		switch {
		case before == nil || before.Spec.NodeName == "":
			c.Loop.In(delay, func() { c.run(pod) })
		case pod.DeletionTimestamp != nil && before.DeletionTimestamp == nil:
			c.Loop.In(delay, func() { c.stop(pod) })
		}
	})
}

// alive returns the pod as it is now if its machine runs, else nil.
func (c *Cluster) alive(pod *corev1.Pod) *corev1.Pod {
	now := Get[*corev1.Pod](c.Store, pod.Namespace, pod.Name)
	if now == nil || now.UID != pod.UID || finished(now) {
		return nil
	}
	if c.kubeletOf(Get[*corev1.Node](c.Store, "", now.Spec.NodeName)) == nil {
		return nil
	}
	return now
}

func (c *Cluster) run(pod *corev1.Pod) {
	running := c.alive(pod)
	if running == nil || running.DeletionTimestamp != nil {
		return
	}
	c.changePod(byKubelet, pod, func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.StartTime = ptr.To(now())
	})
	runTime, err := time.ParseDuration(pod.Annotations[RunTimeAnnotation])
	if err != nil {
		return
	}
	c.Loop.In(runTime, func() {
		if c.alive(pod) != nil {
			c.changePod(byKubelet, pod, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
		}
	})
}

func (c *Cluster) stop(pod *corev1.Pod) {
	if pod = c.alive(pod); pod != nil {
		_ = c.Store.Delete(byKubelet, pod) // it is there: it was found just now
	}
}

func now() metav1.Time { return metav1.NewTime(time.Now().Truncate(time.Second)) }
