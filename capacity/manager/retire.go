package manager

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// nodeActions are the steps of nodes' lives, but for those that the cloud takes.
func (m *Manager) nodeActions(o *observation, d capacity.Decision) []action {
	var actions []action
	for _, s := range d.Steps {
		node := o.node(s.Node)
		if s.Kind == capacity.StepDelete || s.Kind == capacity.StepRestart || s.Kind == capacity.StepStart || node == nil || node.UID != s.UID {
			continue
		}
		if s.Reimaged && !m.publisher.knows(api.RestartOf(node).VMID) {
			continue // without its Node the next leader knows from there only that it is to join
		}
		actions = append(actions, action{key: "node/" + s.Node, run: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, writeTimeout)
			defer cancel()
			return m.perform(ctx, node, s)
		}})
	}
	return actions
}

// errNotYet ends a step that is to be planned again.
var errNotYet = errors.New("not yet")

// perform takes one node one step on. Every write compares the version of the
// node that was planned on, so that a step is never taken on an old picture.
func (m *Manager) perform(ctx context.Context, node *corev1.Node, s capacity.Step) error {
	var err error
	switch s.Kind {
	case capacity.StepAdopt:
		err = m.adopt(ctx, node, s)
	case capacity.StepMark:
		err = m.patch(ctx, node, s, func(n *corev1.Node) {
			setRetirement(n, api.Retirement{Reason: s.Why, Since: metav1.NewTime(m.now())})
		})
	case capacity.StepUnmark:
		err = m.patch(ctx, node, s, unmark)
	case capacity.StepRecordEmpty:
		err = m.patch(ctx, node, s, func(n *corev1.Node) {
			since := metav1.NewTime(m.now())
			if !s.Since.IsZero() {
				since = metav1.NewTime(s.Since)
			}
			changeRetirement(n, func(r *api.Retirement) { r.EmptySince = &since })
		})
	case capacity.StepRecordBusy:
		err = m.patch(ctx, node, s, func(n *corev1.Node) {
			changeRetirement(n, func(r *api.Retirement) { r.EmptySince = nil })
		})
	case capacity.StepFence:
		err = m.patch(ctx, node, s, func(n *corev1.Node) { m.fence(n, s.Why) })
	case capacity.StepUnfence:
		err = m.unfence(ctx, node, s)
	case capacity.StepRecordModel:
		err = m.patch(ctx, node, s, func(n *corev1.Node) {
			delete(n.Annotations, api.OutdatedAnnotation)
			if s.Instance.Outdated {
				metav1.SetMetaDataAnnotation(&n.ObjectMeta, api.OutdatedAnnotation, "true")
			}
		})
	case capacity.StepForgetApproval:
		err = m.patch(ctx, node, s, func(n *corev1.Node) { delete(n.Annotations, api.ApprovedAnnotation) })
	case capacity.StepProve:
		err = m.prove(ctx, node)
	case capacity.StepCommit:
		err = m.commit(ctx, node, s)
	case capacity.StepReturn:
		err = m.comeBack(ctx, node, s)
	case capacity.StepForget:
		err = m.forget(ctx, node, s)
	}
	switch {
	case err == nil:
		m.progress.succeeded(node.UID)
	case isStale(err), errors.Is(err, errNotYet):
	default:
		m.progress.failed(node.UID)
		m.log.Error(err, "step failed; trying again", "step", string(s.Kind), "node", s.Node)
	}
	return err
}

// patch changes the node and tells of it.
func (m *Manager) patch(ctx context.Context, cached *corev1.Node, s capacity.Step, change func(*corev1.Node)) error {
	node := cached.DeepCopy()
	change(node)
	err := m.write(string(s.Kind), func() error { return m.patchNode(ctx, cached, node) })
	if err != nil {
		return fmt.Errorf("%s node %s: %w", s.Kind, s.Node, err)
	}
	m.told(node, s)
	return nil
}

// patchNode writes what has changed of the node if it still has that version, and
// makes it the node that the API server answers with.
func (m *Manager) patchNode(ctx context.Context, cached, node *corev1.Node) error {
	before, after := changeable(cached), changeable(node)
	err := m.client.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err == nil {
		*node = *after
	}
	return err
}

// changeable is what Tidegate may change of a node. The rest, such as what the kubelet
// reports, need not be written down and compared for a patch.
func changeable(n *corev1.Node) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, ResourceVersion: n.ResourceVersion, Labels: n.Labels, Annotations: n.Annotations},
		Spec:       corev1.NodeSpec{Taints: n.Spec.Taints},
	}
}

// told logs a step that was taken, and records an event for all but the
// bookkeeping.
func (m *Manager) told(node *corev1.Node, s capacity.Step) {
	m.log.Info("node "+pastTense[s.Kind], "node", s.Node, "pool", s.Pool, "why", s.Why)
	if s.Rescue {
		m.metrics.rescues.Inc()
	}
	reason, ok := eventReasons[s.Kind]
	if s.Kind == capacity.StepCommit {
		reason, ok = commitReasons[s.Fate], true
	}
	if ok && !s.Failed {
		m.say(node, corev1.EventTypeNormal, reason, "Retire", "%s", s.Why)
	}
}

var pastTense = map[capacity.StepKind]string{
	capacity.StepAdopt:       "adopted",
	capacity.StepMark:        "marked for retirement",
	capacity.StepUnmark:      "taken back from retirement",
	capacity.StepRecordEmpty: "is empty",
	capacity.StepRecordBusy:  "is in use again",
	capacity.StepFence:       "fenced",
	capacity.StepUnfence:     "unfenced",
	capacity.StepCommit:      "committed",
	capacity.StepReturn:      "is no longer to be restarted",
	capacity.StepForget:      "forgotten",

	capacity.StepRecordModel:    "has another model",
	capacity.StepForgetApproval: "has nothing approved any more",
}

var eventReasons = map[capacity.StepKind]string{
	capacity.StepAdopt:   "Adopted",
	capacity.StepMark:    "Retiring",
	capacity.StepUnmark:  "Rescued",
	capacity.StepFence:   "Fenced",
	capacity.StepUnfence: "Unfenced",
	capacity.StepReturn:  "Returned",
}

// commitReasons are the reasons of the events of a StepCommit.
var commitReasons = map[api.Fate]string{
	api.FateDelete: "Deleting", api.FateRestart: "Restarting", api.FateReimage: "Reimaging",
	api.FateDeallocate: "Deallocating",
}

// adopt records which machine the node is, and learns from it.
func (m *Manager) adopt(ctx context.Context, cached *corev1.Node, s capacity.Step) error {
	// A machine that was given up may be on its way out. Its node is recorded, so
	// that it is forgotten with it, but gets no pods.
	givenUp := m.givenUp.has(s.Instance.VMID) || s.Instance.State == capacity.InstanceDeleting
	if givenUp && cached.Annotations[api.VMIDAnnotation] == s.Instance.VMID {
		return errNotYet
	}
	err := m.patch(ctx, cached, s, func(n *corev1.Node) {
		metav1.SetMetaDataLabel(&n.ObjectMeta, api.PoolLabel, s.Pool)
		metav1.SetMetaDataAnnotation(&n.ObjectMeta, api.VMIDAnnotation, s.Instance.VMID)
		if readySince(n) != nil && !givenUp {
			n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == api.StartupTaint })
		}
	})
	if err != nil {
		return err
	}
	m.pools.learnTaint(s.Pool, slices.ContainsFunc(cached.Spec.Taints, func(t corev1.Taint) bool { return t.Key == api.StartupTaint }))
	if s.Instance.Outdated || readySince(cached) == nil || givenUp {
		return nil // the next machines will be others
	}
	converted := node(cached)
	ready := readySince(cached)
	again := cached.Annotations[api.VMIDAnnotation] != "" // it was silent at first, or fell silent in between
	if ready != nil && !again && !s.Instance.Created.IsZero() && !m.pools.joinsAnew(s.Instance.VMID) {
		m.pools.learn(s.Pool, shapeFromNode(&converted, s.Pool), ready.Sub(s.Instance.Created))
	} else {
		m.pools.learn(s.Pool, shapeFromNode(&converted, s.Pool), 0)
	}
	return nil
}

// fence sets the label with a fresh token and the taint, in one patch. A node
// that was not marked is fenced for that reason.
func (m *Manager) fence(n *corev1.Node, why string) {
	var token [16]byte
	rand.Read(token[:])
	metav1.SetMetaDataLabel(&n.ObjectMeta, api.RetiredLabel, hex.EncodeToString(token[:]))
	n.Spec.Taints = append(withoutFenceTaint(n.Spec.Taints), api.FenceTaint())
	now := metav1.NewTime(m.now())
	changeRetirement(n, func(r *api.Retirement) {
		if r.Reason == "" {
			r.Reason, r.Since = why, now
		}
		r.FencedAt = &now
	})
}

// unfence takes fence and mark back, in one patch. A node that could not be
// proved fenced is held back until somebody can have mended the policy.
func (m *Manager) unfence(ctx context.Context, cached *corev1.Node, s capacity.Step) error {
	err := m.patch(ctx, cached, s, open)
	if err == nil && s.Unproved {
		m.progress.disproved(cached.UID)
		m.metrics.unproved.Inc()
		m.log.Error(nil, "a fence could not be proved, so nothing is deleted: look at ValidatingAdmissionPolicy "+api.FencePolicy+" and its binding", "node", s.Node)
		m.say(cached, corev1.EventTypeWarning, "FenceUnproved", "Retire", "%s; is ValidatingAdmissionPolicy %s with its binding in place?", s.Why, api.FencePolicy)
	}
	return err
}

// prove asks the API servers whether they enforce the node's fence.
func (m *Manager) prove(ctx context.Context, n *corev1.Node) error {
	token := api.FenceToken(n)
	m.progress.proof(n.UID, token, false)
	proved, err := m.prover.prove(ctx, n.Name, string(n.UID), token)
	if err != nil {
		return fmt.Errorf("prove the fence of node %s: %w", n.Name, err)
	}
	if !proved {
		m.progress.failed(n.UID)
		return errNotYet
	}
	m.progress.proof(n.UID, token, true)
	m.metrics.proofSeconds.Observe(m.progress.provedIn(n.UID).Seconds())
	m.log.Info("fence proved", "node", n.Name)
	return nil
}

// commit reads the node, its pods and its volumes from the API server itself, proves the
// fence once more, and records what is to become of the machine. Work on the
// node takes the fence back; any doubt leaves everything as it is.
func (m *Manager) commit(ctx context.Context, cached *corev1.Node, s capacity.Step) error {
	live, err := m.kubernetes.CoreV1().Nodes().Get(ctx, s.Node, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("live read of node %s: %w", s.Node, err)
	}
	token := api.FenceToken(cached)
	if live.UID != cached.UID || token == "" || api.FenceToken(live) != token || api.KeepReason(live) != "" ||
		api.RetirementOf(live) == nil || live.Annotations[api.VMIDAnnotation] != s.Instance.VMID || live.Annotations[api.DeletingAnnotation] != "" || !mayCommit(cached, live, s) {
		return errNotYet // the next plan sees what has changed
	}
	// On a machine that is off no kubelet can confirm the end of a pod that Kubernetes
	// has taken, and nothing of it runs.
	off := s.Instance.Off() && readySince(live) == nil
	work, err := m.liveWork(ctx, s.Node, func(p *corev1.Pod) bool { return off && p.DeletionTimestamp != nil })
	if err != nil {
		return err
	}
	if work != nil {
		s.Kind, s.Why = capacity.StepUnfence, fmt.Sprintf("the live read found pod %s/%s on it", work.Namespace, work.Name)
		return m.unfence(ctx, live, s)
	}
	if asked, _ := api.RetireRequest(live); asked == "" {
		volume, err := m.liveVolume(ctx, live)
		if err != nil {
			return err
		}
		if volume != "" {
			return errNotYet // the next plan that knows of it takes the fence back
		}
	}
	proved, err := m.prover.prove(ctx, s.Node, string(live.UID), token)
	if err != nil {
		return fmt.Errorf("prove the fence of node %s once more: %w", s.Node, err)
	}
	if !proved {
		s.Kind, s.Why, s.Unproved = capacity.StepUnfence, "the API server no longer enforces the fence", true
		return m.unfence(ctx, live, s)
	}
	if s.Repair {
		m.metrics.repaired.WithLabelValues(s.Pool).Add(float64(m.pools.repaired(s.Pool, s.Instance.VMID)))
	}
	return m.patch(ctx, live, s, func(n *corev1.Node) {
		if s.Fate == api.FateDelete {
			delete(n.Annotations, api.RestartingAnnotation)
			metav1.SetMetaDataAnnotation(&n.ObjectMeta, api.DeletingAnnotation, s.Instance.VMID)
			return
		}
		metav1.SetMetaDataAnnotation(&n.ObjectMeta, api.RestartingAnnotation, api.Restart{
			Fate: s.Fate, VMID: s.Instance.VMID, BootID: n.Status.NodeInfo.BootID, Since: metav1.NewTime(m.now()),
		}.Encode())
	})
}

// mayCommit reports whether the step's fate is still what is wanted of the node's
// machine: what an operator asks for, else the pool's own way. A machine that is
// deallocated may be deleted yet, and so may one that does not come back from
// what it was committed to, or on which the cloud does not end it.
func mayCommit(cached, live *corev1.Node, s capacity.Step) bool {
	if s.Failed {
		return (readySince(live) == nil || s.Instance.Changing) && live.Annotations[api.RestartingAnnotation] == cached.Annotations[api.RestartingAnnotation]
	}
	if r := api.RestartOf(live); r != nil {
		return r.Fate == api.FateDeallocate && r.Done != nil && s.Fate == api.FateDelete
	}
	asked, _ := api.RetireRequest(live)
	return asked == s.Fate || asked == "" && (s.Fate == api.FateDelete || s.Fate == api.FateDeallocate)
}

// liveWork returns a pod that keeps the node from being empty, as the API
// server and not a cache knows it; nil if there is none but those that are over.
func (m *Manager) liveWork(ctx context.Context, nodeName string, over func(*corev1.Pod) bool) (*corev1.Pod, error) {
	pods, err := m.kubernetes.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", nodeName).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("live read of the pods on node %s: %w", nodeName, err)
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; !api.Finished(p) && WorkOf(p).IsWork() && !over(p) {
			return p, nil
		}
	}
	return nil, nil
}

// forget removes the Node object of a machine that is gone.
func (m *Manager) forget(ctx context.Context, n *corev1.Node, s capacity.Step) error {
	err := m.write(string(s.Kind), func() error {
		return m.client.Delete(ctx, n.DeepCopy(), client.Preconditions{UID: &n.UID, ResourceVersion: &n.ResourceVersion})
	})
	if err != nil {
		return fmt.Errorf("forget node %s: %w", s.Node, err)
	}
	switch {
	case s.Lost:
		m.metrics.lost.WithLabelValues(s.Pool).Inc()
	case s.Reimaged:
		m.metrics.restarted.WithLabelValues(s.Pool).Inc()
	default:
		m.metrics.retired.WithLabelValues(s.Pool).Inc()
	}
	m.told(n, s)
	return nil
}

func setRetirement(n *corev1.Node, r api.Retirement) {
	metav1.SetMetaDataAnnotation(&n.ObjectMeta, api.RetiringAnnotation, r.Encode())
}

func changeRetirement(n *corev1.Node, change func(*api.Retirement)) {
	r := api.RetirementOf(n)
	if r == nil {
		r = &api.Retirement{}
	}
	change(r)
	setRetirement(n, *r)
}

func unmark(n *corev1.Node) {
	delete(n.Annotations, api.RetiringAnnotation)
	delete(n.Annotations, api.RestartingAnnotation)
}

// open takes fence and mark off the node.
func open(n *corev1.Node) {
	delete(n.Labels, api.RetiredLabel)
	n.Spec.Taints = withoutFenceTaint(n.Spec.Taints)
	unmark(n)
}

func withoutFenceTaint(taints []corev1.Taint) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(taints), func(t corev1.Taint) bool { return t.Key == api.RetiredTaint })
}
