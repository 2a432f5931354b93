package demo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/observer"
)

const (
	frames = 40
	// framesAtOnce fill five machines of agents, four on each.
	framesAtOnce = 20
	// longerThanAll is for how long the long pod goes on when all others have
	// ended.
	longerThanAll = 8 * time.Second
)

// frameTime is the run time of a frame: 5 to 60 s, most of them short, in an
// order that is not that of their size.
func frameTime(index int) time.Duration {
	x := float64(index*7%frames) / (frames - 1)
	return time.Duration(5+55*x*x) * time.Second
}

// playBuiltin is the scenario of the demo. The run times of frames and of the
// long pod are set behind Tidegate's back, as real ones would be.
func (d *demo) playBuiltin(ctx context.Context) error {
	// Four of the eight fill one machine of big; none may start before both
	// machines are there.
	together := runFor(25 * time.Second)
	together[api.AllOrNothingAnnotation] = "true"
	together[api.PoolAnnotation] = big.name
	if err := d.submit(ctx, batchJob("simulate", 8, 8, requests("3800m", "12Gi"), together)); err != nil {
		return err
	}
	if err := d.awaitBought(ctx, big, big.max); err != nil {
		return err
	}
	// The older of two demands goes first, and creation times have whole
	// seconds.
	time.Sleep(time.Second)
	if err := d.submit(ctx, batchJob("render", frames, framesAtOnce, requests("1900m", "6Gi"), nil)); err != nil {
		return err
	}
	d.group.Go(func() error { return d.timeFrames(ctx) })
	if err := d.await(ctx, "the first pods are released", func() (bool, error) {
		return d.observer.Summary().PodsReleased >= 8+framesAtOnce, nil
	}); err != nil {
		return err
	}

	// It asks for so much memory that it needs a machine of its own; bought now,
	// that is the newest of its pool.
	if err := d.submit(ctx, batchJob("encode", 1, 1, requests("2", "26Gi"), nil)); err != nil {
		return err
	}
	return d.playEnd(ctx)
}

// playEnd lets a second small wave come once every machine is marked, so that
// it has to be a rescue, and ends the long pod when all others have ended.
func (d *demo) playEnd(ctx context.Context) error {
	if err := d.await(ctx, "every pod is released and every machine is marked", func() (bool, error) {
		if d.observer.Summary().PodsReleased < d.submitted {
			return false, nil
		}
		machines := d.observer.Machines()
		for _, m := range machines {
			if m.State == observer.Booting || m.State == observer.Joined || m.State == observer.Ready {
				return false, nil
			}
		}
		return true, nil
	}); err != nil {
		return err
	}
	if err := d.submit(ctx, batchJob("retouch", 2, 2, requests("2", "2Gi"), runFor(6*time.Second))); err != nil {
		return err
	}
	if err := d.await(ctx, "all pods but the long one end", func() (bool, error) {
		return d.observer.Summary().PodsCompleted == d.submitted-1, nil
	}); err != nil {
		return err
	}
	pods, err := d.podsOf(ctx, "encode")
	if err != nil {
		return err
	}
	for _, p := range pods {
		d.long = p.Spec.NodeName
		if p.Status.StartTime == nil {
			return fmt.Errorf("pod %s has no start time although it runs on %s", p.Name, p.Spec.NodeName)
		}
		run := time.Since(p.Status.StartTime.Time) + longerThanAll
		if err := d.setRunTime(ctx, p.Name, run); err != nil {
			return err
		}
		d.view.line(fmt.Sprintf("pod %s on %s is the last one, and ends in %s", p.Name, p.Spec.NodeName, longerThanAll))
	}
	return nil
}

// timeFrames sets the run time of each frame when it has been created.
func (d *demo) timeFrames(ctx context.Context) error {
	timed := map[string]bool{}
	return d.await(ctx, "the frames are created", func() (bool, error) {
		pods, err := d.podsOf(ctx, "render")
		if err != nil {
			return false, err
		}
		for _, p := range pods {
			if timed[p.Name] {
				continue
			}
			index, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
			if err != nil {
				return false, fmt.Errorf("pod %s: its completion index: %w", p.Name, err)
			}
			if err := d.setRunTime(ctx, p.Name, frameTime(index)); err != nil {
				return false, err
			}
			timed[p.Name] = true
		}
		return len(timed) >= frames, nil
	})
}

func (d *demo) awaitBought(ctx context.Context, p pool, machines int) error {
	return d.await(ctx, fmt.Sprintf("%d machines of %s are bought", machines, p.name), func() (bool, error) {
		bought := 0
		for _, e := range d.rig.Azure.Cloud().History() {
			if e.Kind == emulator.InstanceCreated && e.Set == p.name {
				bought++
			}
		}
		return bought >= machines, nil
	})
}
