package manager

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// restart asks the cloud to restart or reimage the machines of committed nodes,
// and records on the nodes when it has. That it is asked is written first, so that
// nobody lets a node serve which a request that is on its way is about.
func (m *Manager) restart(ctx context.Context, pool string, fate api.Fate, machines []doomed) {
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	machines = m.record(ctx, machines, func(r *api.Restart, now *metav1.Time) { r.Asked = now })
	if len(machines) == 0 {
		return
	}
	refs, names := refsOf(machines)
	outcome := func(err error) {
		for _, d := range machines {
			failure := err
			if failure == nil {
				done := metav1.NewTime(m.now())
				failure = m.amend(context.WithoutCancel(ctx), d, func(r *api.Restart) { r.Done = &done })
			}
			if failure == nil {
				m.progress.succeeded(d.UID)
				continue
			}
			m.progress.failed(d.UID)
			m.say(d.node, corev1.EventTypeWarning, "RestartFailed", "Restart", "the %s of its machine failed; trying again: %v", fate, failure)
			m.log.Error(failure, "the machine was not restarted; trying again", "fate", string(fate), "pool", pool, "node", d.Node)
		}
	}
	if err := m.write(string(fate), func() error { return m.pools.restart(ctx, pool, fate, refs, outcome) }); err != nil {
		outcome(fmt.Errorf("%s %d machines of pool %s: %w", fate, len(refs), pool, err))
		return
	}
	m.log.Info("restarting machines", "fate", string(fate), "pool", pool, "nodes", names)
}

// start has the cloud start the machines of nodes that were retired by
// deallocating them. When that was is written first: whoever goes on from there
// starts them again, which does no harm. It is taken back if the cloud refuses, so
// that nobody counts on them.
func (m *Manager) start(ctx context.Context, pool string, machines []doomed) {
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	recorded := m.record(ctx, machines, func(r *api.Restart, now *metav1.Time) {
		if r.Started == nil {
			r.Started = now
		}
	})
	if len(recorded) == 0 {
		return
	}
	refs, names := refsOf(recorded)
	outcome := func(err error) {
		for _, d := range recorded {
			if err == nil {
				m.progress.succeeded(d.UID)
				continue
			}
			m.progress.failed(d.UID)
			m.say(d.node, corev1.EventTypeWarning, "StartFailed", "Start", "its machine was not started; trying again: %v", err)
			if !isRefusal(err) {
				continue
			}
			if err := m.amend(context.WithoutCancel(ctx), d, func(r *api.Restart) { r.Started = nil }); err != nil {
				m.log.Error(err, "nobody knows that the machine was not started; trying again", "pool", pool, "node", d.Node)
			}
		}
		if err != nil {
			m.log.Error(err, "machines were not started; trying again", "pool", pool, "nodes", names)
		}
	}
	if err := m.write("start", func() error { return m.pools.start(ctx, pool, refs, outcome) }); err != nil {
		outcome(fmt.Errorf("start %d machines of pool %s: %w", len(refs), pool, err))
		return
	}
	m.log.Info("starting machines", "pool", pool, "nodes", names)
}

// record changes the nodes' commitments, and returns those machines of which that
// is written.
func (m *Manager) record(ctx context.Context, machines []doomed, change func(*api.Restart, *metav1.Time)) []doomed {
	var recorded []doomed
	for _, d := range machines {
		node, r, now := d.node.DeepCopy(), *api.RestartOf(d.node), metav1.NewTime(m.now())
		change(&r, &now)
		metav1.SetMetaDataAnnotation(&node.ObjectMeta, api.RestartingAnnotation, r.Encode())
		var err error
		if node.Annotations[api.RestartingAnnotation] != d.node.Annotations[api.RestartingAnnotation] {
			err = m.write("record-request", func() error { return m.patchNode(ctx, d.node, node) })
		}
		switch {
		case err == nil:
			d.node = node
			recorded = append(recorded, d)
		case !isStale(err):
			m.progress.failed(d.UID)
			m.log.Error(err, "cannot record what the cloud is asked for; trying again", "node", d.Node)
		}
	}
	return recorded
}

// amend writes on the node what has come of its commitment. The kubelet may write
// meanwhile; what counts is that the commitment still is the same one.
func (m *Manager) amend(ctx context.Context, d doomed, change func(*api.Restart)) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	committed := d.node.Annotations[api.RestartingAnnotation]
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live, err := m.kubernetes.CoreV1().Nodes().Get(ctx, d.Node, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read node %s: %w", d.Node, err)
		}
		if live.UID != d.UID || live.Annotations[api.RestartingAnnotation] != committed {
			return nil // the next plan sees what has changed
		}
		node, r := live.DeepCopy(), *api.RestartOf(live)
		change(&r)
		metav1.SetMetaDataAnnotation(&node.ObjectMeta, api.RestartingAnnotation, r.Encode())
		return m.write("record-restart", func() error { return m.patchNode(ctx, live, node) })
	})
	if err != nil {
		return fmt.Errorf("record on node %s what the cloud has done: %w", d.Node, err)
	}
	return nil
}

// comeBack takes everything off the node that led to its restart, so that there
// is no second one. A machine that was off has restarted too, and keeps its disk.
func (m *Manager) comeBack(ctx context.Context, cached *corev1.Node, s capacity.Step) error {
	err := m.patch(ctx, cached, s, func(n *corev1.Node) {
		wasOff := api.RestartOf(n) != nil && api.RestartOf(n).Fate == api.FateDeallocate
		open(n)
		if asked, _ := api.RetireRequest(n); !wasOff || asked == api.FateRestart {
			delete(n.Annotations, api.RetireAnnotation)
		}
	})
	switch {
	case err != nil:
		return err
	case s.Failed:
		next := "ask for it again once its cause is mended"
		if r := api.RestartOf(cached); r != nil && r.Fate == api.FateDeallocate && r.Done == nil {
			next = "machines of its pool are deleted for the time being"
			m.pools.deletes(s.Pool)
		}
		m.log.Error(nil, "what the machine was committed to is given up; "+next, "node", s.Node, "why", s.Why)
		m.say(cached, corev1.EventTypeWarning, "RestartGivenUp", "Restart", "%s; %s", s.Why, next)
	case s.Fate != api.FateDeallocate:
		m.metrics.restarted.WithLabelValues(s.Pool).Inc()
	}
	return nil
}
