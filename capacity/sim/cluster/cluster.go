// Package cluster is a small Kubernetes in one process and in virtual time: a
// datastore, API servers with the fence policy, informers that lag behind, a
// scheduler, the controllers of Jobs, DaemonSets and nodes, and the kubelets of
// the machines. It shares no code with the planner that it is to test.
package cluster

import (
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity/sim/loop"
)

// Delay is a random time: up to Usual, and one time in OneIn up to Rare.
type Delay struct {
	Usual, Rare time.Duration
	// OneIn is how often Rare happens; 0 is never.
	OneIn int
}

func (d Delay) draw(r *rand.Rand) time.Duration {
	longest := d.Usual
	if d.OneIn > 0 && r.IntN(d.OneIn) == 0 {
		longest = d.Rare
	}
	return time.Duration(r.Int64N(int64(longest) + 1))
}

// Delays are how long things take on their way.
type Delays struct {
	// Watch is from a change until an informer sees it.
	Watch Delay
	// Scheduler is the same for the scheduler's informers.
	Scheduler Delay
	// Policy is from a change of a node until the admission of an API server
	// knows of it.
	Policy Delay
	// Request is from sending a request until the API server has it.
	Request Delay
	// Write is from the admission of a binding until it is stored. An API
	// request lives for a minute at most, and so does what it leaves behind.
	Write Delay
	// Join is from the boot of a machine until its agent asks to join.
	Join Delay
}

// Cluster is the simulated cluster.
type Cluster struct {
	Loop    *loop.Loop
	Store   *Store
	Servers []*Server
	Delays  Delays
	// Policy is what the API servers refuse.
	Policy Policy
	// Budgets is true while PodDisruptionBudgets let no pod be evicted.
	Budgets bool
	// Hang is called with each machine that boots, and says how much longer than
	// usual its agent takes.
	Hang func(emulator.VM) time.Duration
	// Admit is called with each new pod, as a mutating webhook is.
	Admit func(*corev1.Pod)

	scheduler *scheduler
	kubelets  map[string]*kubelet // by VMID
	disks     map[types.UID]int   // on which of its machine's disks a Node's password is
	jobs      map[string]*jobState
	names     int
}

// The names under which the stand-ins write.
const (
	byScheduler  = "scheduler"
	byKubelet    = "kubelet"
	byController = "controller"
)

// RunTimeAnnotation says, on a pod, how long it runs; without it for ever.
const RunTimeAnnotation = "simulation/run-time"

// New returns a cluster with API servers at those hosts.
func New(l *loop.Loop, hosts ...string) *Cluster {
	c := &Cluster{
		Loop:     l,
		Store:    newStore(),
		Admit:    func(*corev1.Pod) {},
		Hang:     func(emulator.VM) time.Duration { return 0 },
		kubelets: map[string]*kubelet{},
		disks:    map[types.UID]int{},
		jobs:     map[string]*jobState{},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: ptr.To(int32(apiPort))}},
	}
	for _, host := range hosts {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{host}})
		c.Servers = append(c.Servers, &Server{cluster: c, Host: fmt.Sprintf("%s:%d", host, apiPort), nodes: c.follow("Node", &c.Delays.Policy)})
	}
	c.Create(byController, slice)
	c.scheduler = newScheduler(c)
	c.watchNodes()
	c.watchPods()
	c.watchJobs()
	c.watchDaemonSets()
	return c
}

const apiPort = 6443

// Create adds an object whose name is new.
func (c *Cluster) Create(by string, o client.Object) {
	if err := c.Store.Create(by, o); err != nil {
		panic(fmt.Sprintf("create %T %s: %v", o, o.GetName(), err))
	}
}

// CreatePod adds a pod the way the API server does: admission first.
func (c *Cluster) CreatePod(by string, pod *corev1.Pod) {
	c.Admit(pod)
	pod.Status.Phase = corev1.PodPending
	if pod.Spec.SchedulingGates != nil {
		setCondition(pod, corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonSchedulingGated)
	}
	c.Create(by, pod)
}

// DeletePod deletes a pod in good order: one that runs is stopped first.
func (c *Cluster) DeletePod(by string, pod *corev1.Pod) error {
	if pod.Spec.NodeName == "" || finished(pod) {
		return c.Store.Delete(by, pod)
	}
	if pod.DeletionTimestamp != nil {
		return nil
	}
	pod = pod.DeepCopy()
	pod.DeletionTimestamp = ptr.To(metav1.NewTime(time.Now().Truncate(time.Second)))
	return c.Store.Update(by, pod)
}

// land binds the pod to the node, unless something has become of it meanwhile.
func (c *Cluster) land(by string, pod *corev1.Pod, node string) error {
	pod = Get[*corev1.Pod](c.Store, pod.Namespace, pod.Name)
	if pod == nil {
		return fmt.Errorf("the pod is gone")
	}
	if pod.Spec.NodeName != "" || len(pod.Spec.SchedulingGates) > 0 || pod.DeletionTimestamp != nil {
		return apierrors.NewConflict(corev1.Resource("pods"), pod.Name, fmt.Errorf("the pod cannot be bound"))
	}
	pod = pod.DeepCopy()
	pod.Spec.NodeName = node
	setCondition(pod, corev1.PodScheduled, corev1.ConditionTrue, "")
	return c.Store.Update(by, pod)
}

// change applies a change to the pod as it is now, if it still is there.
func (c *Cluster) changePod(by string, pod *corev1.Pod, change func(*corev1.Pod)) {
	now := Get[*corev1.Pod](c.Store, pod.Namespace, pod.Name)
	if now == nil || now.UID != pod.UID {
		return
	}
	now = now.DeepCopy()
	change(now)
	if err := c.Store.Update(by, now); err != nil {
		panic(fmt.Sprintf("update pod %s: %v", now.Name, err))
	}
}

func (c *Cluster) changeNode(by, name string, change func(*corev1.Node)) {
	now := Get[*corev1.Node](c.Store, "", name)
	if now == nil {
		return
	}
	now = now.DeepCopy()
	change(now)
	if err := c.Store.Update(by, now); err != nil {
		panic(fmt.Sprintf("update node %s: %v", name, err))
	}
}

func setCondition(pod *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus, reason string) {
	condition := corev1.PodCondition{Type: kind, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second))}
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			pod.Status.Conditions[i] = condition
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, condition)
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
