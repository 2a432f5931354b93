// Package soak retires machines by the thousand on a real control plane while
// bindings are written long after they were admitted: the one race that a fence
// alone does not close.
package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
	"github.com/tidegate-k3s/tidegate/e2e/observer"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

const (
	// settle is the settling time, and the most by which a binding is delayed; it
	// is 60 s elsewhere.
	settle = 3 * time.Second
	// idleAfter leaves a second between the last pod's end and the fence.
	idleAfter = settle + time.Second
	// There are so many pools, since Azure takes only four writes a minute to each,
	// with so many machines at most. wave is how many pods come at once, each of
	// which needs most of a machine.
	pools, machines, wave = 20, 3, pools * machines
	// period is the time from one wave to the next: most machines of the last one
	// have gone by then.
	period = 20 * time.Second
	// trickle is the time between two small pods.
	trickle = 700 * time.Millisecond
	// patience is how long the last machines may take.
	patience = 2 * time.Minute
	poll     = 200 * time.Millisecond
)

// Options say how long to soak.
type Options struct {
	// Retirements is after how many machines it ends.
	Retirements int
	// Out gets a line for each wave, and last a line of JSON.
	Out io.Writer
}

// Figures are what came of it.
type Figures struct {
	observer.Summary
	slowFigures
}

type soak struct {
	rig      *rig.Rig
	tidegate *rig.Process
	observer *observer.Observer
	slow     *slowBindings
	random   *rand.Rand
	pods     int
}

// Run retires machines until there were enough of them. It fails if a pod was
// killed, bound too late or did not finish, and when ctx ends before.
func Run(ctx context.Context, o Options) error {
	s := &soak{random: rand.New(rand.NewPCG(1, 2))}
	if err := s.start(ctx, o.Out); err != nil {
		return err
	}
	defer s.rig.Stop()
	err := s.waves(ctx, o)
	if err == nil {
		err = s.finish(ctx)
	}
	figures := Figures{s.observer.Summary(), s.slow.figures()}
	errs := []error{err}
	for _, v := range figures.Violations {
		errs = append(errs, errors.New(v))
	}
	if figures.PodsCompleted < s.pods {
		errs = append(errs, fmt.Errorf("%d of %d pods did not finish", s.pods-figures.PodsCompleted, s.pods))
	}
	if figures.AfterTheMark == 0 {
		errs = append(errs, errors.New("no binding was written after its node's mark: nothing was put to the test"))
	}
	verdict := errors.Join(errs...)
	if verdict != nil {
		fmt.Fprintf(o.Out, "NOT as it should be:\n%s\n", verdict)
	}
	line, err := json.Marshal(figures)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%s\n", line)
	return verdict
}

func (s *soak) start(ctx context.Context, out io.Writer) (err error) {
	var sets []emulator.ScaleSet
	for i := range pools {
		sets = append(sets, scaleSet(fmt.Sprintf("agents%d", i)))
	}
	if s.rig, err = rig.Start(ctx, rig.Options{Settle: settle, Azure: emulator.Config{ScaleSets: sets}, Out: out}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.rig.Stop()
		}
	}()
	s.observer = observer.New(s.rig.Client, s.rig.Azure.Cloud().History, func(string) {})
	if err := s.observer.Start(ctx); err != nil {
		return err
	}
	if s.slow, err = delayBindings(ctx, s.rig); err != nil {
		return fmt.Errorf("delay the bindings: %w", err)
	}
	if s.tidegate, err = s.rig.StartTidegate(rig.ProcessOptions{}); err != nil {
		return err
	}
	return s.tidegate.AwaitReady(ctx)
}

func scaleSet(name string) emulator.ScaleSet {
	return emulator.ScaleSet{
		Name: name, Size: "Standard_D8s_v5", Shape: &emulator.Shape{VCPUs: 8, MemoryGiB: 32, Family: "standardDSv5Family"},
		BootTime: emulator.Between(500*time.Millisecond, 2*time.Second),
		Tags: map[string]string{
			api.EnabledTag: "enabled", api.MinTag: "0", api.MaxTag: strconv.Itoa(machines), api.IdleAfterTag: idleAfter.String(),
			"k8s.io_cluster-autoscaler_node-template_resources_cpu":    "7800m",
			"k8s.io_cluster-autoscaler_node-template_resources_memory": "30Gi",
		},
	}
}

// waves lets waves of pods come until enough machines have gone. In between small
// pods trickle in, half of which never opted in: nothing holds these back while
// their node is being retired.
func (s *soak) waves(ctx context.Context, o Options) error {
	for n := 1; ; n++ {
		for range wave {
			if err := s.submit(ctx, "6", true); err != nil {
				return err
			}
		}
		for next := time.Now().Add(period); time.Now().Before(next); {
			if err := s.submit(ctx, "1", s.random.IntN(2) == 0); err != nil {
				return err
			}
			if err := s.wait(ctx, trickle); err != nil {
				return err
			}
		}
		figures := s.observer.Summary()
		fmt.Fprintf(o.Out, "wave %d: %d machines have gone, %d marks were taken back, %d pods were killed, %d bound too late\n",
			n, figures.MachinesRetired, figures.Rescues, figures.PodsKilled, figures.LateBinds)
		if figures.MachinesRetired >= o.Retirements || len(figures.Violations) > 0 {
			return nil
		}
	}
}

// finish waits until all pods are done and all machines have gone. Pods that
// never opted in buy no machine, so others buy one for them.
func (s *soak) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("pods or machines are left after %s", patience))
	defer cancel()
	for s.observer.Summary().PodsCompleted < s.pods {
		if err := s.submit(ctx, "3", true); err != nil {
			return err
		}
		if err := s.wait(ctx, 4*time.Second); err != nil {
			return err
		}
	}
	for len(s.rig.Azure.Cloud().VMs()) > 0 {
		if err := s.wait(ctx, poll); err != nil {
			return err
		}
	}
	return nil
}

func (s *soak) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.tidegate.Exited():
		return errors.New("tidegate run has ended by itself")
	case <-time.After(d):
		return nil
	}
}

// submit creates a bare pod that runs for one to five seconds.
func (s *soak) submit(ctx context.Context, cpu string, optsIn bool) error {
	annotations := map[string]string{cluster.RunFor: fmt.Sprintf("%ds", 1+s.random.IntN(5)), observer.Judged: "true"}
	if optsIn {
		annotations[api.GateKey] = "true"
	}
	name := fmt.Sprintf("pod-%06d", s.pods)
	_, err := s.rig.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			// Not on the cluster's server.
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: api.PoolLabel, Operator: corev1.NodeSelectorOpExists}}}},
			}}},
			Containers: []corev1.Container{{
				Name: "work", Image: "registry.example/work",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create pod %s: %w", name, err)
	}
	s.pods++
	return nil
}
