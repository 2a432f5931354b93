// Package demo plays Tidegate's main job on real parts: Jobs come, their pods
// wait at the gate, machines are bought for them, run and go.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/observer"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// settle is how long a fence stands in the demo. A real cluster needs 60 s.
const settle = 5 * time.Second

// patience is how long the cluster may take to come back to its minimum once
// everything was submitted.
const patience = 4 * time.Minute

// Options say what to play.
type Options struct {
	// Trace is the path of a trace to play instead of the built-in scenario;
	// see ReadTrace.
	Trace string
	// Pods is how many pods of the trace to play, and Duration how long their
	// arrivals take.
	Pods     int
	Duration time.Duration
	// Out gets the story and the summary. Table is true for a terminal, where
	// the story is a table that updates in place.
	Out   io.Writer
	Table bool
}

type demo struct {
	options  Options
	rig      *rig.Rig
	process  *rig.Process
	observer *observer.Observer
	view     *view
}

// Run plays the demo. It fails if a pod was killed or did not finish, a machine
// was left over, or an action failed.
func Run(ctx context.Context, o Options) error {
	d := &demo{options: o, view: newView(o.Out, o.Table)}
	play, sets := d.builtin, []emulator.ScaleSet{
		poolOf("agents", "Standard_D8s_v5", 6, emulator.Shape{VCPUs: 8, MemoryGiB: 32}, nil),
		poolOf("big", "Standard_D16s_v5", 2, emulator.Shape{VCPUs: 16, MemoryGiB: 64}, nil),
	}
	if o.Trace != "" {
		trace, err := ReadTrace(o.Trace, o.Pods, o.Duration)
		if err != nil {
			return err
		}
		play, sets = func(ctx context.Context) error { return d.replay(ctx, trace) }, traceSets()
	}
	d.view.line("starting a Kubernetes control plane and an emulated Azure")
	r, err := rig.Start(ctx, rig.Options{Settle: settle, Azure: emulator.Config{ScaleSets: sets}, Out: d.view})
	if err != nil {
		return err
	}
	defer r.Stop()
	d.rig = r
	d.view.line(fmt.Sprintf("the settling time is %s here, so that you need not wait; a real cluster needs 60 s", settle))
	d.observer = observer.New(r.Client, r.Azure.Cloud().History, d.view.line)
	if err := d.observer.Start(ctx); err != nil {
		return err
	}
	if err := d.bystanders(ctx); err != nil {
		return err
	}
	if d.process, err = r.StartTidegate(rig.ProcessOptions{}); err != nil {
		return err
	}
	if err := d.process.AwaitReady(ctx); err != nil {
		return err
	}
	return d.play(ctx, play)
}

// play plays, shows it, and judges it.
func (d *demo) play(ctx context.Context, scenario func(context.Context) error) error {
	showing, stop := context.WithCancel(ctx)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		d.show(showing)
	}()
	err := scenario(ctx)
	if err == nil {
		err = d.await(ctx, "every pod is done and every machine is gone", func() bool { return d.quiet(ctx) })
	}
	stop()
	<-shown
	summary := d.observer.Summary()
	failed := d.failedActions(ctx)
	d.view.end()
	printSummary(d.options.Out, summary)
	err = errors.Join(err, verdict(summary, failed))
	if err != nil {
		fmt.Fprintf(d.options.Out, "Tidegate's log:\n%s\n", d.process.Log())
	}
	last, encodeErr := json.Marshal(summary)
	fmt.Fprintf(d.options.Out, "%s\n", last)
	return errors.Join(err, encodeErr)
}

// quiet reports whether every pod is done and the cluster is at its minimum,
// which is no machine at all.
func (d *demo) quiet(ctx context.Context) bool {
	if unfinished, _ := d.observer.Unfinished(); unfinished > 0 || len(d.rig.Azure.Cloud().VMs()) > 0 {
		return false
	}
	nodes, err := d.rig.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	return err == nil && len(nodes.Items) == 1
}

// failedActions returns the writes of Tidegate that ended in an error, as its
// metrics show them.
func (d *demo) failedActions(ctx context.Context) []string {
	code, text := d.process.Metrics(ctx)
	if code != 200 {
		return []string{fmt.Sprintf("its metrics cannot be read: %d %s", code, text)}
	}
	var failed []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "tidegate_writes_total{") && strings.Contains(line, `result="error"`) {
			failed = append(failed, strings.TrimSpace(line))
		}
	}
	return failed
}

// verdict says what was wrong.
func verdict(s observer.Summary, failed []string) error {
	var errs []error
	for _, v := range s.Violations {
		errs = append(errs, errors.New(v))
	}
	for _, f := range failed {
		errs = append(errs, fmt.Errorf("an action of Tidegate failed: %s", f))
	}
	if s.PodsCompleted < s.PodsGated {
		errs = append(errs, fmt.Errorf("%d of %d pods did not finish", s.PodsGated-s.PodsCompleted, s.PodsGated))
	}
	if s.MachinesRetired < s.MachinesBought {
		errs = append(errs, fmt.Errorf("%d of %d machines are left over", s.MachinesBought-s.MachinesRetired, s.MachinesBought))
	}
	return errors.Join(errs...)
}

// await polls until the condition holds.
func (d *demo) await(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited %s until %s", patience, what))
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.process.Exited():
			return errors.New("tidegate run has ended by itself")
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}
