package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// approvalActions tell agents which interruptions they may let happen.
func (m *Manager) approvalActions(o *observation, d capacity.Decision) []action {
	var actions []action
	for _, a := range d.Approvals {
		told := o.node(a.Node)
		var nodes []*corev1.Node
		for _, name := range a.Nodes {
			nodes = append(nodes, o.node(name))
		}
		if told == nil || told.UID != a.UID || slices.Contains(nodes, nil) {
			continue
		}
		actions = append(actions, action{key: "approve/" + a.Interruption.ID, run: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, writeTimeout)
			defer cancel()
			return m.approve(ctx, told, nodes, a.Interruption)
		}})
	}
	return actions
}

// approve writes on the node that its agent may let the interruption happen,
// after a last look at each of the nodes whose machines it covers.
func (m *Manager) approve(ctx context.Context, told *corev1.Node, nodes []*corev1.Node, i api.Interruption) error {
	err := m.vacated(ctx, nodes)
	if err == nil {
		err = m.write("approve", func() error { return m.patchApproval(ctx, told, i) })
	}
	switch {
	case err == nil:
		m.metrics.approved.Inc()
		m.log.Info("interruption approved", "node", told.Name, "event", i.ID, "interruption", i.String(), "machines", i.Resources)
		m.say(told, corev1.EventTypeNormal, "InterruptionApproved", "Approve", "nothing is left on the machines that %s is about: %v", i.Type, i.Resources)
	case isStale(err), errors.Is(err, errNotYet):
	default:
		m.progress.failed(told.UID)
		m.log.Error(err, "cannot approve the interruption; trying again", "node", told.Name, "event", i.ID, "interruption", i.String())
	}
	return err
}

// vacated returns nil if every node is as its fence promises: nothing on it,
// and nothing can come. A node whose own deletion is committed had its last
// look.
func (m *Manager) vacated(ctx context.Context, nodes []*corev1.Node) error {
	for _, n := range nodes {
		if n.Annotations[api.DeletingAnnotation] != "" {
			continue
		}
		token := api.FenceToken(n)
		live, err := m.kubernetes.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("live read of node %s: %w", n.Name, err)
		}
		if live.UID != n.UID || token == "" || api.FenceToken(live) != token {
			return errNotYet // the next plan sees what has changed
		}
		work, err := m.liveWork(ctx, n.Name, func(*corev1.Pod) bool { return false })
		if err != nil {
			return err
		}
		if work != nil {
			return errNotYet
		}
		proved, err := m.prover.prove(ctx, n.Name, string(n.UID), token)
		if err != nil {
			return fmt.Errorf("prove the fence of node %s once more: %w", n.Name, err)
		}
		if !proved {
			return errNotYet
		}
	}
	return nil
}

// patchApproval adds the interruption to those that the node's agent may let
// happen, and drops those that are over.
func (m *Manager) patchApproval(ctx context.Context, told *corev1.Node, i api.Interruption) error {
	reported := api.Interruptions(told)
	approved := slices.DeleteFunc(api.ApprovedInterruptions(told), func(a api.Interruption) bool {
		return !slices.ContainsFunc(reported, a.Same)
	})
	node := told.DeepCopy()
	metav1.SetMetaDataAnnotation(&node.ObjectMeta, api.ApprovedAnnotation, api.EncodeInterruptions(append(approved, i)))
	if err := m.patchNode(ctx, told, node); err != nil {
		return fmt.Errorf("approve %s %s on node %s: %w", i.Type, i.ID, told.Name, err)
	}
	return nil
}
