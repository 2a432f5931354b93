// Package agent runs on the machines of the pools. It reads what Azure
// announces to do to its own machine, writes that on its own Node, and
// approves what the manager has approved there. It decides nothing itself.
package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure"
)

const (
	// interval is the time between two looks at the scheduled events: of a
	// notice of 30 s every second counts. Source: Azure documentation,
	// "Scheduled Events for Linux VMs", which advises the same.
	interval = time.Second
	// longestPause bounds the time between two looks while they fail.
	longestPause = 8 * time.Second
	// sayAgainAfter is how long the log is spared a failure that goes on.
	sayAgainAfter = 5 * time.Minute
)

// Nodes is what the agent does at the API server.
type Nodes interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.Node, error)
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*corev1.Node, error)
}

// Agent is the agent of one machine.
type Agent struct {
	node     string
	nodes    Nodes
	metadata *azure.Metadata
	log      logr.Logger

	machine string    // its name in events; "" until IMDS was asked
	quiet   bool      // the Node is known to say nothing
	failing time.Time // when a failure was logged last; zero while all is well
}

// New returns the agent of the machine that is that Node.
func New(node string, nodes Nodes, metadata *azure.Metadata, log logr.Logger) *Agent {
	return &Agent{node: node, nodes: nodes, metadata: metadata, log: log.WithValues("node", node)}
}

// Run works until ctx ends.
func (a *Agent) Run(ctx context.Context) {
	pause := interval
	for ctx.Err() == nil {
		err := a.step(ctx)
		a.tell(ctx, err)
		if err == nil {
			pause = interval
		} else {
			pause = min(2*pause, longestPause)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// tell logs a failure when it begins, from time to time while it goes on, and
// when it is over.
func (a *Agent) tell(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err == nil && !a.failing.IsZero():
		a.failing = time.Time{}
		a.log.Info("scheduled events are watched again")
	case err != nil && (a.failing.IsZero() || time.Since(a.failing) >= sayAgainAfter):
		a.failing = time.Now()
		a.log.Error(err, "cannot watch the scheduled events of this machine; trying again")
	}
}

// step looks once. While nothing is announced the API server is left alone.
func (a *Agent) step(ctx context.Context) error {
	if a.machine == "" {
		machine, err := a.metadata.Machine(ctx)
		if err != nil {
			return err
		}
		a.machine = machine.Name
		a.log.Info("watching the scheduled events of this machine", "machine", a.machine)
	}
	events, err := a.metadata.ScheduledEvents(ctx)
	if err != nil {
		return err
	}
	events = a.own(events)
	if a.quiet && len(events) == 0 {
		return nil
	}
	node, err := a.nodes.Get(ctx, a.node, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read node %s: %w", a.node, err)
	}
	report := reportOf(events, api.Interruptions(node), time.Now())
	value := api.EncodeInterruptions(report)
	if value != node.Annotations[api.InterruptionsAnnotation] {
		if err := a.write(ctx, value); err != nil {
			return err
		}
		a.log.Info("reported on the node", "interruptions", report)
	}
	a.quiet = len(report) == 0
	return a.approve(ctx, events, report, api.ApprovedInterruptions(node))
}

// own returns the events that interrupt this machine. Azure lists those of its
// whole placement group.
func (a *Agent) own(events []azure.ScheduledEvent) []azure.ScheduledEvent {
	return slices.DeleteFunc(events, func(e azure.ScheduledEvent) bool {
		return !api.Interrupts(e.Type) || !api.Interruption{Resources: e.Resources}.Covers(a.machine)
	})
}

// reportOf says what the events are in the report's terms. An event that has
// started has no time any more: it keeps the one that was reported, or else
// happens now.
func reportOf(events []azure.ScheduledEvent, before []api.Interruption, now time.Time) []api.Interruption {
	var report []api.Interruption
	for _, e := range events {
		at := e.NotBefore
		if at.IsZero() {
			at = now.UTC().Truncate(time.Second)
			if i := slices.IndexFunc(before, func(b api.Interruption) bool { return b.ID == e.ID }); i >= 0 {
				at = before[i].NotBefore.Time
			}
		}
		report = append(report, api.Interruption{ID: e.ID, Type: e.Type, Resources: e.Resources, NotBefore: metav1.NewTime(at)})
	}
	slices.SortFunc(report, func(x, y api.Interruption) int { return cmp.Compare(x.ID, y.ID) })
	return report
}

// write sets the annotation on the node, or removes it if the value is "".
func (a *Agent) write(ctx context.Context, value string) error {
	var said any
	if value != "" {
		said = value
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{api.InterruptionsAnnotation: said}}})
	if err == nil {
		_, err = a.nodes.Patch(ctx, a.node, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: api.AgentAccount})
	}
	if err != nil {
		return fmt.Errorf("report on node %s what is announced for its machine: %w", a.node, err)
	}
	return nil
}

// approve lets those events happen that the manager approved. The approval
// must say word for word what Azure announces now.
func (a *Agent) approve(ctx context.Context, events []azure.ScheduledEvent, report, approved []api.Interruption) error {
	waiting := map[string]bool{}
	for _, e := range events {
		waiting[e.ID] = !e.Started
	}
	for _, r := range report {
		if !waiting[r.ID] || !slices.ContainsFunc(approved, r.Same) {
			continue
		}
		if err := a.metadata.Approve(ctx, r.ID); err != nil {
			return err
		}
		a.log.Info("approved", "event", r.ID, "interruption", r.String(), "machines", r.Resources)
	}
	return nil
}
