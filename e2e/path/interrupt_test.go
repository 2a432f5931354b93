package path

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// long is a notice that no test waits for.
const long = 10 * time.Minute

var installAgents sync.Once

// agents makes the agents' pods appear.
func (w *world) agents() {
	w.t.Helper()
	installAgents.Do(func() {
		if err := w.InstallAgents(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	})
}

// agent starts the agent of the node, once its pod is there.
func (w *world) agent(node *corev1.Node) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	kubeconfig, err := w.AgentKubeconfig(ctx, node.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	suite.mu.Lock()
	defer suite.mu.Unlock()
	p, err := w.StartAgent(node.Name, node.Annotations[api.VMIDAnnotation], kubeconfig)
	if err != nil {
		w.t.Fatal(err)
	}
	suite.processes = append(suite.processes, p)
	w.t.Cleanup(p.Kill)
}

// announce schedules an event for the pool's first machine.
func (w *world) announce(kind string, notice time.Duration) {
	w.t.Helper()
	var ids []string
	for _, e := range w.history() {
		if e.Kind == emulator.InstanceCreated && ids == nil {
			ids = []string{e.InstanceID}
		}
	}
	if _, err := w.Azure.Cloud().Schedule(emulator.ScheduledEvent{Type: kind, Set: w.pool, InstanceIDs: ids, Notice: metav1.Duration{Duration: notice}}); err != nil {
		w.t.Fatal(err)
	}
}

// running waits until so many pods of the Job run, none of them on that node,
// and returns them.
func (w *world) running(job string, want int, notOn string) []corev1.Pod {
	w.t.Helper()
	var running []corev1.Pod
	w.eventually(fmt.Sprintf("%d pods of %s run, none on %q", want, job, notOn), func() error {
		list, err := w.Client.CoreV1().Pods(w.namespace).List(w.t.Context(), metav1.ListOptions{LabelSelector: "job-name=" + job})
		if err != nil {
			return err
		}
		running = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
			return p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil || p.Spec.NodeName == notOn
		})
		if len(running) != want {
			return fmt.Errorf("%d of %d", len(running), want)
		}
		return nil
	})
	return running
}

// alarmed reports whether the process has said that somebody else lowered the pool's
// capacity.
func (w *world) alarmed(p *rig.Process) bool {
	w.t.Helper()
	return reports(w.t, p, fmt.Sprintf("tidegate_capacity_drops_total{pool=%q} 1", w.pool))
}

// reports reports whether the process' metrics have these lines.
func reports(t *testing.T, p *rig.Process, lines ...string) bool {
	t.Helper()
	_, metrics := p.Metrics(t.Context())
	has := func(line string) bool { return strings.Contains(metrics, "\n"+line+"\n") }
	return !slices.ContainsFunc(lines, func(line string) bool { return !has(line) })
}

// interrupted is how many pods the process has evicted from machines that Azure
// takes.
func interrupted(t *testing.T, p *rig.Process) int {
	t.Helper()
	_, metrics := p.Metrics(t.Context())
	_, rest, found := strings.Cut(metrics, "\ntidegate_interrupted_pods_total ")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(line)
	if !found || err != nil {
		t.Fatalf("no count of interrupted pods: %v\n%s", err, metrics)
	}
	return n
}

// Azure takes a machine on which two pods run. They are evicted, as their
// budget allows one after the other; their Job makes new ones, which meet the
// gate and get another machine; and Azure need not wait for its time.
func TestPreempted(t *testing.T) {
	w := newWorld(t, "preempt")
	t.Parallel()
	p := tidegate(t)
	w.agents()
	w.job("frames", 2, w.pod("", "3", 0))
	old := w.running("frames", 2, "")
	node := w.node("marked") // no waiting pod needs it
	if old[0].Spec.NodeName != node.Name || old[1].Spec.NodeName != node.Name {
		t.Fatalf("the pods run on %s and %s, want both on %s", old[0].Spec.NodeName, old[1].Spec.NodeName, node.Name)
	}
	w.budget("frames", 1)
	w.agent(node)
	before := interrupted(t, p)
	w.announce("Preempt", long)

	replaced := w.running("frames", 2, node.Name)
	var waited, refused int
	for _, pod := range replaced {
		w.event(w.namespace, pod.Name, "Released", "released towards node ")
		waited += w.told(w.namespace, pod.Name, "MachinesComing")
	}
	for _, pod := range old {
		w.event(w.namespace, pod.Name, "Evicted", "evicted from node "+node.Name+": Azure announces: Preempt, not before ")
		refused += w.told(w.namespace, pod.Name, "EvictionRefused")
	}
	if waited != 1 || refused != 1 {
		t.Errorf("%d new pods waited for a machine, the budget kept %d old ones for a while; want one of each", waited, refused)
	}
	w.event("default", node.Name, "InterruptionApproved", "[preempt_0]")
	w.eventually("Azure takes the machine before its time", func() error {
		if w.count(emulator.EventApproved) != 1 || w.count(emulator.InstanceDeleting) != 1 {
			return fmt.Errorf("history %+v", w.history())
		}
		return nil
	})
	w.eventually("its node is forgotten", func() error {
		if _, err := w.Client.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{}); !isGone(err) {
			return fmt.Errorf("reading it: %v", err)
		}
		return nil
	})
	if w.alarmed(p) || w.told("default", node.Name, "MachineTaken") > 0 {
		t.Errorf("what Azure had announced is told of as somebody else's doing\n%s", logs())
	}
	if now := interrupted(t, p); now < before+2 { // other tests may have some, too
		t.Errorf("by the metrics %d pods were evicted meanwhile, want two", now-before)
	}
}

// budget makes a PodDisruptionBudget for the Job's pods and waits until it
// allows a disruption.
func (w *world) budget(job string, minAvailable int32) {
	w.t.Helper()
	budgets := w.Client.PolicyV1().PodDisruptionBudgets(w.namespace)
	_, err := budgets.Create(w.t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: job},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: new(intstr.FromInt32(minAvailable)),
			Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{"job-name": job}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the budget allows a disruption", func() error {
		budget, err := budgets.Get(w.t.Context(), job, metav1.GetOptions{})
		if err == nil && budget.Status.DisruptionsAllowed == 0 {
			err = fmt.Errorf("status %+v", budget.Status)
		}
		return err
	})
}

// told is 1 if there is an event with the reason on the object, else 0.
func (w *world) told(namespace, object, reason string) int {
	w.t.Helper()
	list, err := w.Client.EventsV1().Events(namespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool { return e.Regarding.Name == object && e.Reason == reason }) {
		return 1
	}
	return 0
}

// In a set with termination notices Azure announces Tidegate's own deletions
// too. They do not wait.
func TestOwnDeletionIsApproved(t *testing.T) {
	w := newWorld(t, "notice")
	t.Parallel()
	tidegate(t)
	w.agents()
	w.submit(w.pod("work", "3", 5*time.Second))
	w.agent(w.node("adopted"))
	w.phase("work", corev1.PodSucceeded)
	w.atRest(1)
	if n := w.count(emulator.EventApproved); n != 1 {
		t.Errorf("%d deletions were approved, want 1", n)
	}
}

// A machine that somebody deletes behind Tidegate's back is told of, its node
// goes, and its Job runs again.
func TestTakenBehindOurBack(t *testing.T) {
	w := newWorld(t, "taken")
	t.Parallel()
	p := tidegate(t)
	w.job("frames", 1, w.pod("", "3", 0))
	w.running("frames", 1, "")
	node := w.node("adopted")
	w.announce("Terminate", 0) // nobody on the machine hears of it
	w.event("default", node.Name, "MachineTaken", "is an autoscale rule, another autoscaler or a person at work on scale set taken?")
	w.eventually("its node is forgotten", func() error {
		if nodes := w.nodes(); slices.ContainsFunc(nodes, func(n corev1.Node) bool { return n.UID == node.UID }) {
			return errors.New("it is there")
		}
		return nil
	})
	w.eventually("the drop of the capacity is told of", func() error {
		if !w.alarmed(p) {
			return errors.New("it is not")
		}
		return nil
	})
	w.within(2*patience, "the Job's pod runs again", func() error { // the control plane drops pods of nodes that are gone after 40 s
		list, err := w.Client.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err != nil || !slices.ContainsFunc(list.Items, func(p corev1.Pod) bool { return p.Spec.NodeName != node.Name }) {
			return fmt.Errorf("%d pods: %v", len(list.Items), err)
		}
		return nil
	})
}

// A manager that is killed before and after each write of an interruption does
// what one does that lives; and a machine that comes back serves again.
func killedAtInterruption(t *testing.T) {
	w := newWorld(t, "kills")
	ready(t, own(t, rig.ProcessOptions{Args: []string{"--capacity=false"}}))
	w.agents()
	buyer := start(t, rig.ProcessOptions{Standby: true, Args: capacityOnly})
	w.submit(w.pod("first", "3", 10*time.Second))
	w.phase("first", corev1.PodRunning)
	node := w.node("adopted")
	buyer.Kill()
	freeLease(t)
	w.agent(node)
	w.announce("Reboot", long)
	w.eventually("the agent has reported", func() error {
		if n := w.nodes()[0]; len(api.Interruptions(&n)) != 1 {
			return fmt.Errorf("annotations %v", n.Annotations)
		}
		return nil
	})
	w.phase("first", corev1.PodSucceeded)
	killed(t, "approve")
	killed(t, "forget-approval")
	if n := w.count(emulator.EventApproved); n != 1 {
		t.Errorf("approved %d times, want once", n)
	}

	replica(t, rig.ProcessOptions{Standby: true, Args: capacityOnly})
	w.event("default", node.Name, "Unfenced", "nothing calls for it any longer")
	w.atRest(1)
}

// A token of an agent's pod is good for the one annotation of its own node.
func TestAgentsTokenIsGoodForOneAnnotation(t *testing.T) {
	w := newWorld(t, "agent")
	t.Parallel()
	tidegate(t)
	w.agents()
	w.submit(w.pod("work", "3", 0))
	node := w.node("adopted")
	kubeconfig, err := w.AgentKubeconfig(t.Context(), node.Name)
	if err != nil {
		t.Fatal(err)
	}
	unbound, err := w.Cluster.ServiceAccountKubeconfig(t.Context(), api.ServerNamespace, api.AgentAccount)
	if err != nil {
		t.Fatal(err)
	}
	const annotation = `{"metadata":{"annotations":{"tidegate.io/interruptions":"[]"}}}`
	const policyOwnNode, policyOnlyThat = "writes on the Node that its pod runs on and on no other", "writes the annotation tidegate.io/interruptions and nothing else"
	for name, tc := range map[string]struct {
		kubeconfig, node, patch string
		args                    []string
		refused                 string // "" for accepted
	}{
		"its annotation":                {patch: annotation},
		"its annotation, away":          {patch: `{"metadata":{"annotations":{"tidegate.io/interruptions":null}}}`},
		"another annotation":            {patch: `{"metadata":{"annotations":{"tidegate.io/interruptions":"[]","tidegate.io/interruptions-approved":"[]"}}}`, refused: policyOnlyThat},
		"an annotation of others, away": {patch: `{"metadata":{"annotations":{"tidegate.io/vmid":null}}}`, refused: policyOnlyThat},
		"an annotation of others":       {patch: `{"metadata":{"annotations":{"tidegate.io/vmid":"other"}}}`, refused: policyOnlyThat},
		"a label":                       {patch: `{"metadata":{"labels":{"tidegate.io/pool":"other"}}}`, refused: policyOnlyThat},
		"the fence":                     {patch: `{"metadata":{"labels":{"tidegate.node-restriction.kubernetes.io/retired":"x"}}}`, refused: policyOnlyThat},
		"a finalizer":                   {patch: `{"metadata":{"finalizers":["example.com/x"]}}`, refused: policyOnlyThat},
		"an owner":                      {patch: `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Namespace","name":"x","uid":"x"}]}}`, refused: policyOnlyThat},
		"a taint":                       {patch: `{"spec":{"taints":[{"key":"x","effect":"NoExecute"}]}}`, refused: policyOnlyThat},
		"no new pods":                   {patch: `{"spec":{"unschedulable":true}}`, refused: policyOnlyThat},
		"the status":                    {patch: `{"status":{"conditions":[]}}`, args: []string{"--subresource=status"}, refused: "is forbidden"},
		"another node":                  {node: rig.ServerNode, patch: annotation, refused: policyOwnNode},
		"with a token that no pod has":  {kubeconfig: unbound, patch: annotation, refused: policyOwnNode},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.kubeconfig == "" {
				tc.kubeconfig = kubeconfig
			}
			if tc.node == "" {
				tc.node = node.Name
			}
			args := append([]string{"--kubeconfig", tc.kubeconfig, "patch", "node", tc.node, "--type=merge", "--patch", tc.patch}, tc.args...)
			out, err := w.Cluster.Kubectl(t.Context(), args...)
			accepted := err == nil
			if want := tc.refused == ""; accepted != want {
				t.Fatalf("accepted %t, want %t\n%s", accepted, want, out)
			}
			if !strings.Contains(out, tc.refused) {
				t.Errorf("the answer is %q, want it to say %q", out, tc.refused)
			}
		})
	}
	for _, verb := range []string{"delete node " + node.Name, "get pods", "create node"} {
		allowed, err := w.Cluster.Kubectl(t.Context(), append([]string{"--kubeconfig", kubeconfig, "auth", "can-i"}, strings.Fields(verb)...)...)
		if err == nil {
			t.Errorf("may %s: %s", verb, allowed)
		}
	}
	want := node.DeepCopy()
	got, err := w.Client.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Labels, got.Labels); diff != "" {
		t.Errorf("labels of the node (-before +after):\n%s", diff)
	}
}
