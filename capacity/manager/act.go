package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// writeTimeout bounds one action against the API server, its reads included.
const writeTimeout = 30 * time.Second

// reasonsApart is the least time between two reasons of a pod: while two managers
// lead, each writes what it thinks over what the other one does.
const reasonsApart = time.Second

// act hands the decision to the lanes, in place of what they still had to do.
func (m *Manager) act(o *observation, d capacity.Decision) {
	m.lanes.cloud.replace(append(m.cloudActions(o, d), slices.Concat(m.repairActions(o, d), m.protectActions(d))...))
	m.lanes.nodes.replace(append(m.nodeActions(o, d), m.approvalActions(o, d)...))

	var reasons []action
	pods := m.evictionActions(o, d)
	for _, r := range d.Releases {
		if pod := o.pod(r.UID); pod != nil {
			pool := o.poolOf(r.Node)
			pods = append(pods, action{key: "pod/" + string(r.UID), run: func(ctx context.Context) error { return m.release(ctx, pod, pool, r) }})
		}
	}
	m.lanes.pods.replace(pods)
	if problem := m.pools.failure(); errors.Is(problem, errUnread) {
		d.Reasons = nil // in a moment there is more to say
	} else if data := m.publisher.data(o, problem, m.givenUp.published()); m.publisher.changed(data) {
		reasons = append(reasons, action{key: "status", run: func(ctx context.Context) error { return m.publish(ctx, data) }})
	}
	for _, r := range d.Reasons {
		if pod := o.pod(r.UID); pod != nil && (!says(pod, r) || m.store.follows(r.UID) && !gangStarted(pod)) {
			reasons = append(reasons, action{key: "reason/" + string(r.UID), rest: reasonsApart, run: func(ctx context.Context) error { return m.explain(ctx, pod, r) }})
		}
	}
	m.lanes.reasons.replace(reasons)
}

// write performs one write with its failpoints and its metric. A conflict is
// an ordinary outcome: what was planned on is older than what is there, and
// the next plan sees it.
func (m *Manager) write(kind string, do func() error) error {
	m.failpoint(kind + ":before")
	err := do()
	m.failpoint(kind + ":after")
	result := "ok"
	switch {
	case isStale(err):
		result = "conflict"
	case err != nil:
		result = "error"
	}
	m.metrics.writes.WithLabelValues(kind, result).Inc()
	return err
}

// isStale reports whether a write failed because its object has changed or
// gone meanwhile.
func isStale(err error) bool {
	var growth *capacity.GrowError
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err) || errors.As(err, &growth) && growth.Changed
}

// report logs a write's failure unless it is an ordinary one.
func (m *Manager) report(err error, message string, keysAndValues ...any) {
	if !isStale(err) {
		m.log.Error(err, message, keysAndValues...)
	}
}

// noteLimit is the most bytes of an event's note; the API server rejects events
// with longer ones. Source: Kubernetes API reference, events.k8s.io/v1.
const noteLimit = 1024

// say records an event on an object. What the cloud answers may be long; the
// whole of it is in the log.
func (m *Manager) say(object runtime.Object, kind, reason, action, format string, args ...any) {
	note := fmt.Sprintf(format, args...)
	if len(note) > noteLimit {
		const more = "..."
		note = strings.ToValidUTF8(note[:noteLimit-len(more)], "") + more
	}
	m.events.Eventf(object, nil, kind, reason, action, "%s", note)
}

// ungateTries are how often, over about three seconds, the gate of a pod is asked to
// be taken off while the API server does not say what it did.
var ungateTries = wait.Backoff{Steps: 6, Duration: 100 * time.Millisecond, Factor: 2}

// release nominates the planned node and then takes the gate, and only
// Tidegate's gate, off the pod. The pool is the planned node's, if there is one.
func (m *Manager) release(ctx context.Context, cached *corev1.Pod, pool string, r capacity.Release) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	m.store.hold(cached.UID, r.Node)
	text := "released towards node " + r.Node
	if r.Node == "" {
		text = "released without room: " + r.Why
	}
	pod := cached.DeepCopy()
	pod.Status.NominatedNodeName = r.Node
	setCondition(pod, api.CapacityCondition, corev1.ConditionTrue, "Released", text, m.now())
	m.noteGang(pod)
	err := m.write("nominate", func() error { return m.patchStatus(ctx, cached, pod) })
	if err != nil {
		m.store.letGo(cached.UID)
		m.report(err, "cannot nominate a node for the pod", "pod", r.Pod, "node", r.Node)
		return err
	}
	gated := pod.DeepCopy()
	pod.Spec.SchedulingGates = nil
	for _, gate := range gated.Spec.SchedulingGates {
		if gate.Name != api.CapacityGate {
			pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, gate)
		}
	}
	keepToPool(pod, pool)
	doubt := false
	unclear := func(err error) bool {
		doubt = doubt || !refused(err)
		return !refused(err) && ctx.Err() == nil
	}
	// Until the doubt is over the pod waits, perhaps while the rest of its gang runs.
	// It cannot be released twice: the version of the pod is the same in each try.
	err = retry.OnError(ungateTries, unclear, func() error {
		return m.write("ungate", func() error {
			return m.client.Patch(ctx, placing(pod), client.StrategicMergeFrom(placing(gated), client.MergeFromWithOptimisticLock{}))
		})
	})
	switch {
	case err == nil:
	case doubt: // a refusal now may come of a try that was carried out
		m.store.letGoLater(cached.UID)
	default:
		m.store.letGo(cached.UID)
	}
	if err != nil {
		m.report(err, "cannot take the gate off the pod", "pod", r.Pod)
		return err
	}
	m.metrics.released.Inc()
	m.log.Info("released pod", "pod", r.Pod, "node", r.Node, "waited", m.now().Sub(pod.CreationTimestamp.Time).Round(time.Second).String())
	m.say(pod, corev1.EventTypeNormal, "Released", "Release", "%s", text)
	return nil
}

// patchStatus writes what has changed of the pod's status, and makes it the pod that
// the API server answers with.
func (m *Manager) patchStatus(ctx context.Context, cached, pod *corev1.Pod) error {
	after := waitingStatus(pod)
	err := m.client.Status().Patch(ctx, after, client.StrategicMergeFrom(waitingStatus(cached), client.MergeFromWithOptimisticLock{}))
	if err == nil {
		*pod = *after
	}
	return err
}

// waitingStatus and placing are what Tidegate may change of a pod's status and of its
// spec. The rest, which is most of it, need not be written down and compared for a
// patch.
func waitingStatus(pod *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, ResourceVersion: pod.ResourceVersion},
		Status:     corev1.PodStatus{Conditions: pod.Status.Conditions, NominatedNodeName: pod.Status.NominatedNodeName},
	}
}

func placing(pod *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, ResourceVersion: pod.ResourceVersion},
		Spec:       corev1.PodSpec{SchedulingGates: pod.Spec.SchedulingGates, NodeSelector: pod.Spec.NodeSelector},
	}
}

// keepToPool keeps a pod that asks for a pool on that pool's nodes: to the
// scheduler the nomination is only a hint, and any node with room would do. A
// node selector may be added for as long as a gate is on the pod.
func keepToPool(pod *corev1.Pod, pool string) {
	request, _ := api.ParsePodRequest(pod.Annotations)
	if request.Pool == "" || pool == "" {
		return
	}
	if pod.Spec.NodeSelector == nil {
		pod.Spec.NodeSelector = map[string]string{}
	}
	pod.Spec.NodeSelector[api.PoolLabel] = pool
}

// explain writes on the pod why it waits; an event tells when the kind of
// reason changes.
func (m *Manager) explain(ctx context.Context, cached *corev1.Pod, r capacity.Reason) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	pod := cached.DeepCopy()
	before := podCondition(&cached.Status, api.CapacityCondition)
	setCondition(pod, api.CapacityCondition, corev1.ConditionFalse, string(r.Code), r.Text, m.now())
	m.noteGang(pod)
	err := m.write("explain", func() error { return m.patchStatus(ctx, cached, pod) })
	if err != nil {
		m.report(err, "cannot write why the pod waits", "pod", r.Pod)
		return err
	}
	if before == nil || before.Reason != string(r.Code) {
		m.say(pod, corev1.EventTypeNormal, string(r.Code), "Wait", "%s", r.Text)
	}
	return nil
}

// noteGang puts on the pod that the rest of its gang has started, if it has: once the
// others have ended and are gone no later leader could know.
func (m *Manager) noteGang(pod *corev1.Pod) {
	if m.store.follows(pod.UID) {
		setCondition(pod, api.GangStartedCondition, corev1.ConditionTrue, "Released", "other pods of the gang have been released", m.now())
	}
}

// says reports whether the pod already carries the reason.
func says(pod *corev1.Pod, r capacity.Reason) bool {
	c := podCondition(&pod.Status, api.CapacityCondition)
	return c != nil && c.Status == corev1.ConditionFalse && c.Reason == string(r.Code) && c.Message == r.Text
}

func setCondition(pod *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) {
	condition := corev1.PodCondition{
		Type: kind, Status: status, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(now),
	}
	existing := podCondition(&pod.Status, kind)
	if existing == nil {
		pod.Status.Conditions = append(pod.Status.Conditions, condition)
		return
	}
	if existing.Status == status {
		condition.LastTransitionTime = existing.LastTransitionTime
	}
	*existing = condition
}

// deletionsApart is the time between two requests to delete machines of a pool:
// those that are committed in between go together. Azure takes twelve writes to a
// scale set at once and then four a minute, purchases included, however many
// machines one is for. Source: Azure documentation, "Compute throttling limits".
const deletionsApart = 5 * time.Second

// cloudActions are purchases and deletions, one of each under way in a pool.
func (m *Manager) cloudActions(o *observation, d capacity.Decision) []action {
	var actions []action
	for _, g := range d.Grows {
		actions = append(actions, action{key: "grow/" + g.Pool, run: func(ctx context.Context) error { return m.grow(ctx, g) }})
	}
	byPool := map[string][]doomed{}
	type restart struct {
		pool string
		fate api.Fate
	}
	restarts := map[restart][]doomed{}
	starts := map[string][]doomed{}
	for _, s := range d.Steps {
		switch node := o.node(s.Node); {
		case node == nil:
		case s.Kind == capacity.StepDelete:
			byPool[s.Pool] = append(byPool[s.Pool], doomed{s, node})
		case s.Kind == capacity.StepStart:
			starts[s.Pool] = append(starts[s.Pool], doomed{s, node})
		case s.Kind == capacity.StepRestart:
			of := restart{s.Pool, s.Fate}
			restarts[of] = append(restarts[of], doomed{s, node})
		}
	}
	for pool, machines := range starts {
		actions = append(actions, action{key: "start/" + pool, run: func(ctx context.Context) error {
			m.start(ctx, pool, machines)
			return nil // each machine's own failures hold it back
		}})
	}
	for of, machines := range restarts {
		machines = m.together(machines)
		actions = append(actions, action{key: string(of.fate) + "/" + of.pool, run: func(ctx context.Context) error {
			m.restart(ctx, of.pool, of.fate, machines)
			return nil // each machine's own failures hold it back
		}})
	}
	for pool, machines := range byPool {
		machines = m.together(machines)
		actions = append(actions, action{key: "delete/" + pool, rest: deletionsApart, run: func(ctx context.Context) error {
			m.delete(ctx, pool, machines)
			return nil // each machine's own failures hold it back
		}})
	}
	return actions
}

func (m *Manager) grow(ctx context.Context, g capacity.Grow) error {
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	var granted int
	err := m.write("grow", func() (err error) {
		granted, err = m.pools.grow(ctx, g)
		return err
	})
	if err != nil {
		m.report(err, "the cloud gives no machines", "pool", g.Pool, "from", g.From, "to", g.To)
		return err
	}
	m.metrics.bought.WithLabelValues(g.Pool).Add(float64(granted))
	m.log.Info("bought machines", "pool", g.Pool, "machines", granted, "capacity", g.From+granted, "why", g.Why)
	return nil
}

// doomed is a machine whose run is to end.
type doomed struct {
	capacity.Step
	node *corev1.Node
}

// together returns those of the machines that are asked for in one request: all that
// have not failed before, else of those that failed least often half as many each
// time, so that one that the cloud refuses does not keep the others.
func (m *Manager) together(machines []doomed) []doomed {
	failures := func(d doomed) int { return m.progress.node(d.UID).failures }
	least := failures(slices.MinFunc(machines, func(a, b doomed) int { return cmp.Compare(failures(a), failures(b)) }))
	machines = slices.DeleteFunc(machines, func(d doomed) bool { return failures(d) > least })
	return machines[:max(1, len(machines)>>least)]
}

func refsOf(machines []doomed) (refs []capacity.Ref, nodes []string) {
	for _, d := range machines {
		refs = append(refs, capacity.Ref{ID: d.Instance.ID, VMID: d.Instance.VMID})
		nodes = append(nodes, d.Node)
	}
	return refs, nodes
}

// delete asks the cloud to delete the machines of committed nodes.
func (m *Manager) delete(ctx context.Context, pool string, machines []doomed) {
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	refs, names := refsOf(machines)
	outcome := func(err error) {
		for _, d := range machines {
			if err == nil {
				m.progress.succeeded(d.UID)
				continue
			}
			m.progress.failed(d.UID)
			m.say(d.node, corev1.EventTypeWarning, "DeleteFailed", "Delete", "the cloud did not delete the machine; trying again: %v", err)
		}
		if err != nil {
			m.log.Error(err, "the cloud did not delete machines; trying again", "pool", pool, "nodes", names)
		}
	}
	if err := m.write("delete", func() error { return m.pools.delete(ctx, pool, refs, outcome) }); err != nil {
		outcome(fmt.Errorf("delete %d machines of pool %s: %w", len(refs), pool, err))
		return
	}
	m.log.Info("deleting machines", "pool", pool, "nodes", names)
}
