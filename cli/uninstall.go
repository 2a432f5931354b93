package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
)

// stopTimeout is how long Tidegate's pods may take to end: a request to Azure
// that is under way is finished first.
const stopTimeout = 3 * time.Minute

// Uninstaller takes Tidegate out of a cluster.
type Uninstaller struct {
	Client client.Client
	// Objects are what was applied to the cluster at installation.
	Objects []*unstructured.Unstructured
	// Out is told what happens.
	Out io.Writer
	// Force goes on although machines are being deleted.
	Force bool
}

// Traces are what Tidegate has left on objects that are not its own.
type Traces struct {
	// Gated are the pods behind its gate, Told those that carry its condition.
	Gated, Told []corev1.Pod
	// Nodes carry its labels, annotations or taints.
	Nodes []corev1.Node
	// Deleting are nodes whose machines are being deleted.
	Deleting []string
	// Bound are pods without a node that select its label for pools: it stays
	// on the nodes as long as there are any.
	Bound []string
}

// Find reads the cluster for traces.
func (u Uninstaller) Find(ctx context.Context) (Traces, error) {
	var pods corev1.PodList
	var nodes corev1.NodeList
	if err := u.Client.List(ctx, &pods); err != nil {
		return Traces{}, readError("the pods of all namespaces", err)
	}
	if err := u.Client.List(ctx, &nodes); err != nil {
		return Traces{}, readError("the nodes", err)
	}
	return findTraces(pods.Items, nodes.Items), nil
}

func findTraces(pods []corev1.Pod, nodes []corev1.Node) Traces {
	var t Traces
	for _, p := range pods {
		_, selects := p.Spec.NodeSelector[api.PoolLabel]
		if api.HasCapacityGate(&p) {
			t.Gated = append(t.Gated, p)
		}
		if capacityCondition(&p) != nil {
			t.Told = append(t.Told, p)
		}
		if selects && p.Spec.NodeName == "" && !api.Finished(&p) {
			t.Bound = append(t.Bound, p.Namespace+"/"+p.Name)
		}
	}
	for _, n := range nodes {
		if n.Annotations[api.DeletingAnnotation] != "" {
			t.Deleting = append(t.Deleting, n.Name)
		}
		if cleaned := n.DeepCopy(); cleanNode(cleaned, false) {
			t.Nodes = append(t.Nodes, n)
		}
	}
	return t
}

// cleanNode takes everything of Tidegate's off the node, but for the label of
// its pool if that is to stay, and reports whether there was anything.
func cleanNode(n *corev1.Node, keepPool bool) bool {
	changed := false
	for key := range n.Annotations {
		if api.IsOurs(key) {
			delete(n.Annotations, key)
			changed = true
		}
	}
	for key := range n.Labels {
		if api.IsOurs(key) && !(keepPool && key == api.PoolLabel) {
			delete(n.Labels, key)
			changed = true
		}
	}
	before := len(n.Spec.Taints)
	n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t corev1.Taint) bool { return api.IsOurs(t.Key) })
	return changed || len(n.Spec.Taints) < before
}

// Describe says what Run would do.
func (u Uninstaller) Describe(t Traces) {
	fmt.Fprintf(u.Out, "This would\n  remove the gate from %d waiting pods, which then go to the ordinary queue\n", len(t.Gated))
	fmt.Fprintf(u.Out, "  remove marks, fences, startup taints, labels and annotations from %d nodes\n", len(t.Nodes))
	fmt.Fprintf(u.Out, "  delete these objects, as far as they are there:\n")
	for _, o := range u.Objects {
		fmt.Fprintf(u.Out, "    %s\n", describe(o))
	}
	fmt.Fprintln(u.Out, "Machines stay as they are; delete those that you no longer want with Azure's own tools.")
}

// Run stops Tidegate, takes it out of the way of pods, and removes what it has
// left and what it is made of. It can be run again after a failure.
func (u Uninstaller) Run(ctx context.Context) error {
	traces, err := u.Find(ctx)
	if err != nil {
		return err
	}
	if len(traces.Deleting) > 0 && !u.Force {
		return fmt.Errorf("machines are being deleted: %s; wait until their nodes are gone, a matter of minutes, or go on with --force and see to them yourself", strings.Join(traces.Deleting, ", "))
	}
	// Nobody gates and nobody decides any more before anything is cleaned up.
	for _, kinds := range [][]string{admissionKinds, workloadKinds} {
		if err := u.deleteKinds(ctx, kinds); err != nil {
			return err
		}
	}
	if err := u.awaitStopped(ctx); err != nil {
		return err
	}
	// Agents that still run write nothing any more on what is cleaned now.
	if err := u.deleteKinds(ctx, rightsKinds); err != nil {
		return err
	}
	if traces, err = u.Find(ctx); err != nil {
		return err
	}
	if err := errors.Join(u.freePods(ctx, traces), u.cleanNodes(ctx, traces)); err != nil {
		return err
	}
	if err := u.deleteKinds(ctx, nil); err != nil {
		return err
	}
	if len(traces.Bound) > 0 {
		fmt.Fprintf(u.Out, "left the label %s on the nodes, because pods without a node select it: %s; run this again when they have ended\n", api.PoolLabel, strings.Join(traces.Bound, ", "))
	}
	fmt.Fprintf(u.Out, "Machines whose cloud-init has them join with the taint %s keep it from now on: docs/install.md says how to take it out of the scale set.\n", api.StartupTaint)
	fmt.Fprintln(u.Out, "On every k3s server, remove Tidegate's files under /etc/rancher/k3s and restart k3s: until then its scheduler asks in vain, which does no harm.")
	return nil
}

var (
	admissionKinds = []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"}
	workloadKinds  = []string{"DaemonSet", "Deployment"}
	rightsKinds    = []string{"ClusterRoleBinding", "RoleBinding"}
)

// deleteKinds deletes the objects of those kinds; nil means all of them, the
// namespaces last.
func (u Uninstaller) deleteKinds(ctx context.Context, kinds []string) error {
	var last []*unstructured.Unstructured
	for _, o := range u.Objects {
		switch {
		case kinds == nil && o.GetKind() == "Namespace":
			last = append(last, o)
		case kinds == nil || slices.Contains(kinds, o.GetKind()):
			if err := u.delete(ctx, o); err != nil {
				return err
			}
		}
	}
	for _, o := range last {
		if err := u.delete(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes the object, if it and its kind are there.
func (u Uninstaller) delete(ctx context.Context, o *unstructured.Unstructured) error {
	err := u.Client.Delete(ctx, o.DeepCopy())
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w; then run this again", describe(o), err)
	}
	fmt.Fprintln(u.Out, "deleted", describe(o))
	return nil
}

func describe(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
}

// awaitStopped waits until no pod of Tidegate's own workloads is left, but for
// the agents: they decide nothing, and one on a machine that is dead never ends.
func (u Uninstaller) awaitStopped(ctx context.Context) error {
	var left []string
	err := wait.PollUntilContextTimeout(ctx, time.Second, stopTimeout, true, func(ctx context.Context) (bool, error) {
		left = nil
		for _, namespace := range u.namespaces() {
			var pods corev1.PodList
			if err := u.Client.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
				return false, readError("the pods of namespace "+namespace, err)
			}
			for i := range pods.Items {
				p := &pods.Items[i]
				if !api.Finished(p) && p.Spec.ServiceAccountName != api.AgentAccount {
					left = append(left, fmt.Sprintf("kubectl delete pod -n %s %s --force --grace-period=0", namespace, p.Name))
				}
			}
		}
		return len(left) == 0, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return fmt.Errorf("pods of Tidegate do not end within %s; if their servers are dead or switched off, delete them, then run this again:\n  %s", stopTimeout, strings.Join(left, "\n  "))
	}
	return err
}

// namespaces are those that Tidegate was installed with.
func (u Uninstaller) namespaces() []string {
	var names []string
	for _, o := range u.Objects {
		if o.GetKind() == "Namespace" {
			names = append(names, o.GetName())
		}
	}
	return names
}

// freePods takes the gate off the pods, and what Tidegate says of them.
func (u Uninstaller) freePods(ctx context.Context, t Traces) error {
	for _, p := range t.Gated {
		freed := p.DeepCopy()
		freed.Spec.SchedulingGates = slices.DeleteFunc(freed.Spec.SchedulingGates, func(g corev1.PodSchedulingGate) bool { return g.Name == api.CapacityGate })
		if err := client.IgnoreNotFound(u.Client.Patch(ctx, freed, client.StrategicMergeFrom(&p))); err != nil {
			return fmt.Errorf("take the gate off pod %s/%s: %w; then run this again", p.Namespace, p.Name, err)
		}
	}
	fmt.Fprintf(u.Out, "removed the gate from %d pods\n", len(t.Gated))
	for _, p := range t.Told {
		silent := p.DeepCopy()
		silent.Status.Conditions = slices.DeleteFunc(silent.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == api.CapacityCondition || c.Type == api.GangStartedCondition
		})
		if err := client.IgnoreNotFound(u.Client.Status().Patch(ctx, silent, client.StrategicMergeFrom(&p))); err != nil {
			return fmt.Errorf("take the condition off pod %s/%s: %w; then run this again", p.Namespace, p.Name, err)
		}
	}
	return nil
}

// cleanNodes takes everything of Tidegate's off the nodes, but for those whose
// deletion was committed just before Tidegate stopped: their taint keeps pods
// from a machine that may be going.
func (u Uninstaller) cleanNodes(ctx context.Context, t Traces) error {
	cleaned := 0
	for _, found := range t.Nodes {
		if slices.Contains(t.Deleting, found.Name) && !u.Force {
			fmt.Fprintf(u.Out, "left the fence on node %s, whose machine may be going: delete the node when it is gone, or run this again with --force\n", found.Name)
			continue
		}
		cleaned++
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			var n corev1.Node
			if err := u.Client.Get(ctx, client.ObjectKeyFromObject(&found), &n); err != nil {
				return client.IgnoreNotFound(err)
			}
			before := n.DeepCopy()
			if !cleanNode(&n, len(t.Bound) > 0) {
				return nil
			}
			return u.Client.Patch(ctx, &n, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		})
		if err != nil {
			return fmt.Errorf("clean node %s: %w; then run this again", found.Name, err)
		}
	}
	fmt.Fprintf(u.Out, "cleaned %d nodes\n", cleaned)
	return nil
}
