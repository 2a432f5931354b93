// Package demo plays Tidegate's main job on real parts: Jobs come, their pods
// wait at the gate, machines are bought for them, run, and go when they are
// empty.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"golang.org/x/sync/errgroup"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/observer"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

const (
	// settle is how long a fence stands in the demo; 60 s elsewhere.
	settle = 3 * time.Second
	// patience is how long everything may take beyond a trace's arrivals.
	patience = 4 * time.Minute
	// poll is how often conditions are looked at.
	poll = 200 * time.Millisecond
)

var errInterrupted = errors.New("interrupted: the cluster and its machines are gone")

// Options say what to play.
type Options struct {
	// Trace is the path of a pod list to replay; empty means the built-in
	// scenario.
	Trace string
	// Pods is how many batch pods of the trace to replay, and Duration how long
	// their arrivals take.
	Pods     int
	Duration time.Duration
	// Out gets the story, the summary, and last a line of JSON.
	Out io.Writer
	// Size returns the terminal's columns and rows, if Out is one: the story is
	// then a table that updates in place.
	Size func() (width, height int, err error)
}

type demo struct {
	rig      *rig.Rig
	tidegate *rig.Process
	observer *observer.Observer
	view     *view
	group    *errgroup.Group // everything that plays

	submitted  int                // pods that opted in
	long       string             // the node of the built-in scenario's long pod
	bystanders map[types.UID]bool // pods that never opted in
}

// Run plays the demo. It fails if a pod was killed or did not finish, a machine
// was left over, or an action failed, and when ctx ends before.
func Run(ctx context.Context, o Options) error {
	d := &demo{view: newView(o.Out, o.Size)}
	pools, limit, play := []pool{agents, big}, patience, d.playBuiltin
	if o.Trace != "" {
		arrivals, clamped, err := loadTrace(o.Trace, o.Pods, o.Duration)
		if err != nil {
			return err
		}
		d.view.line(fmt.Sprintf("replaying %d pods of %s within %s", len(arrivals), o.Trace, o.Duration))
		d.view.line(fmt.Sprintf("pods clamped to what the largest machine offers: %d", len(clamped)))
		for _, text := range clamped {
			d.view.line("clamped " + text)
		}
		pools, limit = append(pools, gpus), limit+o.Duration
		play = func(ctx context.Context) error { return d.playTrace(ctx, arrivals) }
	}
	if err := d.start(ctx, pools); err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		return err
	}
	defer d.rig.Stop()

	playing, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s", limit))
	defer cancel()
	err := d.play(playing, play)
	if ctx.Err() != nil {
		return errInterrupted
	}
	return d.judge(ctx, o, err)
}

// start starts everything that Tidegate needs, and Tidegate.
func (d *demo) start(ctx context.Context, pools []pool) (err error) {
	var sets []emulator.ScaleSet
	for _, p := range pools {
		sets = append(sets, p.scaleSet())
		d.view.line("pool " + p.String())
	}
	d.view.line("starting a Kubernetes control plane and an emulated Azure")
	if d.rig, err = rig.Start(ctx, rig.Options{Settle: settle, Azure: emulator.Config{ScaleSets: sets}, Out: d.view}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.rig.Stop()
		}
	}()
	d.observer = observer.New(d.rig.Client, d.rig.Azure.Cloud().History, d.view.line)
	if err := d.observer.Start(ctx); err != nil {
		return err
	}
	d.view.line(fmt.Sprintf("settling time shortened to %s for the demo: for so long a fence stands before the last look at its node, 60 s by default", settle))
	if d.tidegate, err = d.rig.StartTidegate(rig.ProcessOptions{}); err != nil {
		return err
	}
	if err := d.tidegate.AwaitReady(ctx); err != nil {
		return err
	}
	d.bystanders, err = d.startBystanders(ctx)
	return err
}

// play plays the scenario, shows it, and waits for the cluster to be back at
// its minimum.
func (d *demo) play(ctx context.Context, scenario func(context.Context) error) error {
	showing, stop := context.WithCancel(ctx)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		d.show(showing)
	}()
	group, acting := errgroup.WithContext(ctx)
	d.group = group
	group.Go(func() error { return scenario(acting) })
	err := group.Wait()
	if err == nil {
		err = d.await(ctx, "every pod is done and every machine is gone", d.atMinimum)
	}
	stop()
	<-shown
	return err
}

// atMinimum reports whether every pod is done and the server is the only node.
func (d *demo) atMinimum() (bool, error) {
	return d.observer.Summary().PodsCompleted >= d.submitted && len(d.leftOver()) == 0, nil
}

// leftOver names the machines and nodes that are there beside the server.
func (d *demo) leftOver() []string {
	var names []string
	for _, vm := range d.rig.Azure.Cloud().VMs() {
		names = append(names, "machine "+strings.ToLower(vm.ComputerName))
	}
	for _, name := range d.observer.Nodes() {
		if name != rig.ServerNode {
			names = append(names, "node "+name)
		}
	}
	return names
}

// await polls until the condition holds.
func (d *demo) await(ctx context.Context, what string, holds func() (bool, error)) error {
	for {
		ok, err := holds()
		if ok || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		case <-d.tidegate.Exited():
			return fmt.Errorf("waiting until %s: tidegate run has ended by itself", what)
		case <-time.After(poll):
		}
	}
}
