package path

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// world is a test's own corner of the rig: a pool and a namespace.
type world struct {
	t *testing.T
	*rig.Rig
	pool, namespace string
	since           int // events of the emulator before the test
}

// newWorld gives the test a pool. At its end everything is taken away, and the
// pool has to come to rest by itself.
func newWorld(t *testing.T, pool string) *world {
	t.Helper()
	r := sharedRig(t)
	w := &world{t: t, Rig: r, pool: pool, namespace: "e2e-" + pool, since: len(r.Azure.Cloud().History())}
	_, err := r.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(w.leave)
	w.eventually("the namespace takes pods", func() error {
		_, err := r.Client.CoreV1().ServiceAccounts(w.namespace).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return w
}

// leave removes what the test made. Its machines go without further help.
func (w *world) leave() {
	ctx := context.Background()
	background := metav1.DeletePropagationBackground
	for _, err := range []error{
		w.Client.BatchV1().Jobs(w.namespace).DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}),
		w.Client.CoreV1().Pods(w.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
	} {
		if err != nil {
			w.t.Error(err)
		}
	}
	w.honest()
}

// honest holds for every test: nothing but deletions by ID lowers a capacity,
// machines apart that Azure itself takes, and Azure never chooses the victim.
func (w *world) honest() {
	w.t.Helper()
	for _, e := range w.history() {
		if e.Kind == emulator.CapacityChanged && e.New < e.Old && e.How != emulator.ByDeleteInstances && e.How != emulator.ByScheduledEvent || e.How == emulator.ByScaleIn {
			w.t.Errorf("the emulator's history has %+v", e)
		}
	}
}

// history returns the emulator's events of the pool since the test began.
func (w *world) history() []emulator.Event {
	return slices.DeleteFunc(w.Azure.Cloud().History()[w.since:], func(e emulator.Event) bool { return e.Set != w.pool })
}

// count returns how many machines of the pool had the event.
func (w *world) count(kind emulator.EventKind) int {
	n := 0
	for _, e := range w.history() {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// atRest waits until no machine and no node of the pool is left, and checks
// that so many machines were bought and each was deleted by its ID, once.
func (w *world) atRest(machines int) {
	w.t.Helper()
	w.eventually("no node of the pool is left", func() error {
		if nodes := w.nodes(); len(nodes) > 0 {
			return fmt.Errorf("node %s is there: %s", nodes[0].Name, state(&nodes[0]))
		}
		return nil
	})
	var created, deleted []string
	for _, e := range w.history() {
		switch e.Kind {
		case emulator.InstanceCreated:
			created = append(created, e.VMID)
		case emulator.InstanceDeleting:
			deleted = append(deleted, e.VMID)
			if e.How != emulator.ByDeleteInstances {
				w.t.Errorf("machine %s was deleted otherwise than by its ID: %+v", e.InstanceID, e)
			}
		}
	}
	slices.Sort(created)
	slices.Sort(deleted)
	if len(created) != machines || !slices.Equal(created, deleted) {
		w.t.Errorf("bought %v and deleted %v, want %d machines, each deleted once\n%s", created, deleted, machines, logs())
	}
}

// nodes returns the nodes of the pool's machines, by name.
func (w *world) nodes() []corev1.Node {
	w.t.Helper()
	list, err := w.Client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: err.Error()}}} // an API server that restarts knows no better
	}
	return slices.DeleteFunc(list.Items, func(n corev1.Node) bool { return !strings.HasPrefix(n.Name, w.pool+"0") })
}

// node waits for the pool's one node to be in the state.
func (w *world) node(want string) *corev1.Node {
	w.t.Helper()
	var found corev1.Node
	w.eventually("the node is "+want, func() error {
		nodes := w.nodes()
		if len(nodes) != 1 {
			return fmt.Errorf("%d nodes", len(nodes))
		}
		found = nodes[0]
		if got := state(&found); got != want {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
	return &found
}

// state is how far the node is in its life.
func state(n *corev1.Node) string {
	retirement := api.RetirementOf(n)
	switch {
	case n.Annotations[api.DeletingAnnotation] != "":
		return "deleting"
	case api.FenceToken(n) != "":
		return "fenced"
	case retirement != nil && retirement.EmptySince != nil:
		return "empty"
	case retirement != nil:
		return "marked"
	case n.Annotations[api.VMIDAnnotation] != "":
		return "adopted"
	}
	return "joined"
}

// pod returns a pod that opts in, for the test's pool. It runs for ever if
// runFor is 0.
func (w *world) pod(name, cpu string, runFor time.Duration) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace, Annotations: map[string]string{
			api.GateKey: "true", api.PoolAnnotation: w.pool,
		}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{Name: "work", Image: "work", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
			}}},
		},
	}
	if runFor > 0 {
		p.Annotations[cluster.RunFor] = runFor.String()
	}
	return p
}

// submit creates the pod.
func (w *world) submit(p *corev1.Pod) *corev1.Pod {
	w.t.Helper()
	created, err := w.Client.CoreV1().Pods(w.namespace).Create(w.t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatalf("create pod %s: %v\n%s", p.Name, err, logs())
	}
	return created
}

// job creates a Job of so many pods like this one.
func (w *world) job(name string, pods int32, p *corev1.Pod) {
	w.t.Helper()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: maps.Clone(p.Annotations)},
				Spec:       p.Spec,
			},
		},
	}
	if _, err := w.Client.BatchV1().Jobs(w.namespace).Create(w.t.Context(), job, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// get returns the pod as it is.
func (w *world) get(name string) *corev1.Pod {
	w.t.Helper()
	p, err := w.Client.CoreV1().Pods(w.namespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return &corev1.Pod{Status: corev1.PodStatus{Reason: err.Error()}}
	}
	return p
}

// phase waits until the pod is in the phase.
func (w *world) phase(name string, want corev1.PodPhase) *corev1.Pod {
	w.t.Helper()
	var p *corev1.Pod
	w.eventually(fmt.Sprintf("pod %s is %s", name, want), func() error {
		if p = w.get(name); p.Status.Phase != want {
			return fmt.Errorf("phase %q %s on %q, conditions %+v", p.Status.Phase, p.Status.Reason, p.Spec.NodeName, p.Status.Conditions)
		}
		return nil
	})
	return p
}

// delete deletes the pod and waits until it is gone.
func (w *world) delete(name string) {
	w.t.Helper()
	if err := w.Client.CoreV1().Pods(w.namespace).Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("pod "+name+" is gone", func() error {
		if _, err := w.Client.CoreV1().Pods(w.namespace).Get(w.t.Context(), name, metav1.GetOptions{}); !isGone(err) {
			return fmt.Errorf("reading it: %v", err)
		}
		return nil
	})
}

// eventually waits until the check has nothing to say, and else fails with
// what it says last and with Tidegate's log.
func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	w.within(patience, what, check)
}

func (w *world) within(limit time.Duration, what string, check func() error) {
	w.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %s: %s; last: %v\n%s", limit, what, err, logs())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func isGone(err error) bool { return apierrors.IsNotFound(err) }
