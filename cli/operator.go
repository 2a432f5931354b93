package cli

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"github.com/tidegate-k3s/tidegate/api"
)

// Wish is what an operator asks of one node.
type Wish int

// The wishes. Retire deletes the node's machine, Restart and Reimage bring the
// node back; UndoRetire takes back all three, UndoKeep takes back Keep.
const (
	Retire Wish = iota
	Restart
	Reimage
	UndoRetire
	Keep
	UndoKeep
)

// Ask writes the wish on the node and returns a sentence about it. It fails if
// the wish cannot come true.
func Ask(ctx context.Context, client kubernetes.Interface, nodeName string, wish Wish) (string, error) {
	said := ""
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		n, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("there is no node %q: tidegate status lists them", nodeName)
		}
		if err != nil {
			return readError("node "+nodeName, err)
		}
		var changes map[string]any
		if said, changes, err = wish.of(n); err != nil || changes == nil {
			return err
		}
		return annotate(changes, n.ResourceVersion, func(patch []byte) error {
			_, err := client.CoreV1().Nodes().Patch(ctx, nodeName, types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		})
	})
	if apierrors.IsForbidden(err) {
		err = fmt.Errorf("%w; use a kubeconfig that may patch nodes", err)
	}
	return said, err
}

// annotate sends a patch that sets annotations, or removes those that are nil,
// if the object still has the version; "" is any.
func annotate(annotations map[string]any, version string, send func(patch []byte) error) error {
	metadata := map[string]any{"annotations": annotations}
	if version != "" {
		metadata["resourceVersion"] = version
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("encode a patch: %w", err)
	}
	return send(patch)
}

// of decides what the wish means for the node as it is: a sentence, and the
// annotations to set or, where they are nil, to remove; no annotations at all
// if there is nothing to do.
func (w Wish) of(n *corev1.Node) (said string, annotations map[string]any, err error) {
	if n.Annotations[api.DeletingAnnotation] != "" {
		if w == Retire {
			return fmt.Sprintf("node %s is being deleted already", n.Name), nil, nil
		}
		return "", nil, fmt.Errorf("the deletion of node %s is committed and nothing takes that back; its work has ended", n.Name)
	}
	// A machine that is deallocated may still be deleted.
	if r := api.RestartOf(n); r != nil && r.Fate != api.FateDeallocate && w != Keep && w != UndoKeep {
		return "", nil, fmt.Errorf("the %s of node %s is committed and nothing takes that back; the node is back in a few minutes: tidegate status shows it", r.Fate, n.Name)
	}
	switch w {
	case Retire:
		return retire(n, api.FateDelete)
	case Restart:
		return retire(n, api.FateRestart)
	case Reimage:
		return retire(n, api.FateReimage)
	case UndoRetire:
		return undoRetire(n)
	case Keep:
		return keep(n)
	}
	return undoKeep(n)
}

// becomes says what is done with a machine, after "is".
var becomes = map[api.Fate]string{api.FateDelete: "retired", api.FateRestart: "restarted", api.FateReimage: "reimaged"}

func retire(n *corev1.Node, fate api.Fate) (string, map[string]any, error) {
	asked, _ := api.RetireRequest(n)
	switch keep := api.KeepReason(n); {
	case api.IsServer(n):
		return "", nil, fmt.Errorf("node %s is a server of the cluster: Tidegate never retires one", n.Name)
	case n.Annotations[api.KeepAnnotation] == "true":
		return "", nil, fmt.Errorf("node %s is kept: take that back first with tidegate keep %s --undo", n.Name, n.Name)
	case keep != "":
		return "", nil, fmt.Errorf("node %s is kept by its %s: remove that first", n.Name, keep)
	case n.Labels[api.PoolLabel] == "":
		return "", nil, fmt.Errorf("node %s belongs to no pool that Tidegate manages: tidegate status lists the pools", n.Name)
	case asked == fate:
		return fmt.Sprintf("node %s was asked already to be %s", n.Name, becomes[fate]), nil, nil
	}
	return fmt.Sprintf("node %s gets no new pods and is %s as soon as it is empty; tidegate retire %s --undo takes that back", n.Name, becomes[fate], n.Name),
		map[string]any{api.RetireAnnotation: string(fate)}, nil
}

// undoRetire also takes the mark back: if there are other reasons for it the
// leader sets it again.
func undoRetire(n *corev1.Node) (string, map[string]any, error) {
	switch {
	case n.Annotations[api.RetireAnnotation] == "":
		return fmt.Sprintf("node %s was not asked to retire", n.Name), nil, nil
	case api.FenceToken(n) != "":
		return fmt.Sprintf("node %s is no longer asked to retire, but it is empty and fenced; tidegate keep %s saves it", n.Name, n.Name),
			map[string]any{api.RetireAnnotation: nil}, nil
	}
	return fmt.Sprintf("node %s is no longer asked to retire", n.Name),
		map[string]any{api.RetireAnnotation: nil, api.RetiringAnnotation: nil}, nil
}

// keep is the later word, and takes an earlier wish to retire back.
func keep(n *corev1.Node) (string, map[string]any, error) {
	if n.Annotations[api.KeepAnnotation] == "true" {
		return fmt.Sprintf("node %s is kept already", n.Name), nil, nil
	}
	return fmt.Sprintf("node %s is kept whatever the demand; tidegate keep %s --undo takes that back", n.Name, n.Name),
		map[string]any{api.KeepAnnotation: "true", api.RetireAnnotation: nil}, nil
}

func undoKeep(n *corev1.Node) (string, map[string]any, error) {
	if _, ok := n.Annotations[api.KeepAnnotation]; !ok {
		return fmt.Sprintf("node %s was not kept by tidegate keep", n.Name), nil, nil
	}
	said := fmt.Sprintf("node %s is no longer kept", n.Name)
	rest := n.DeepCopy()
	delete(rest.Annotations, api.KeepAnnotation)
	if other := api.KeepReason(rest); other != "" {
		said = fmt.Sprintf("node %s is still kept by its %s", n.Name, other)
	}
	return said, map[string]any{api.KeepAnnotation: nil}, nil
}
