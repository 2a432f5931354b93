package throughput

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/watch"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

// scheduleLimited is schedule with a scheduler that sends no more requests than it
// does where nobody configures that.
func (b *bench) scheduleLimited(ctx context.Context, extender bool) (float64, error) {
	return b.schedule(ctx, extender, 50, 100) // kube-scheduler's defaults
}

// scheduleUnlimited is schedule with a scheduler for which the extender is what it
// may wait for.
func (b *bench) scheduleUnlimited(ctx context.Context, extender bool) (float64, error) {
	return b.schedule(ctx, extender, 1000, 2000)
}

// schedule returns how many pods per second the scheduler binds, from the first
// to the last of a batch that waits when it starts, with these limits on its requests.
func (b *bench) schedule(ctx context.Context, extender bool, qps, burst int) (float64, error) {
	if err := b.rig.Cluster.StopComponent(cluster.Scheduler); err != nil {
		return 0, err
	}
	if err := b.configureScheduler(extender, qps, burst); err != nil {
		return 0, fmt.Errorf("configure the scheduler: %w", err)
	}
	if err := b.createPods(ctx, "bind", batch, func(int, *corev1.Pod) {}); err != nil {
		return 0, err
	}
	pods := b.rig.Client.CoreV1().Pods(metav1.NamespaceDefault)
	list, err := pods.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	bindings, err := watch.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
			options.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
			return pods.Watch(ctx, options)
		},
	})
	if err != nil {
		return 0, err
	}
	defer bindings.Stop()
	if err := b.rig.Cluster.StartComponent(ctx, cluster.Scheduler); err != nil {
		return 0, err
	}
	var first time.Time
	bound := map[string]bool{}
	for event := range bindings.ResultChan() {
		if p, ok := event.Object.(*corev1.Pod); ok {
			bound[p.Name] = true
		}
		switch len(bound) {
		case 1:
			first = time.Now()
		case batch:
			return (batch - 1) / time.Since(first).Seconds(), b.clear(ctx)
		}
	}
	return 0, fmt.Errorf("%d of %d pods were bound when the watch ended: %w", len(bound), batch, context.Cause(ctx))
}

// configureScheduler writes the configuration with which the scheduler starts
// next.
func (b *bench) configureScheduler(extender bool, qps, burst int) error {
	file := filepath.Join(b.rig.Cluster.Dir, "kube-scheduler.yaml")
	kept := file + ".with-extender"
	text, err := os.ReadFile(kept)
	if errors.Is(err, os.ErrNotExist) {
		if text, err = os.ReadFile(file); err == nil {
			err = os.WriteFile(kept, text, 0o600)
		}
	}
	if err != nil {
		return err
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		return err
	}
	connection, ok := config["clientConnection"].(map[string]any)
	if !ok || config["extenders"] == nil {
		return fmt.Errorf("%s has no clientConnection or no extenders", kept)
	}
	connection["qps"], connection["burst"] = qps, burst
	if !extender {
		delete(config, "extenders")
	}
	if text, err = yaml.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// create returns how many pods per second the API server creates, none of which
// opts in.
func (b *bench) create(ctx context.Context, webhook bool) (rate float64, err error) {
	if !webhook {
		restore, err := b.removeWebhook(ctx)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	if err := b.awaitGate(ctx, webhook); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := b.createPods(ctx, "create", batch, func(_ int, p *corev1.Pod) { p.Spec.SchedulerName = nobody }); err != nil {
		return 0, err
	}
	return batch / time.Since(began).Seconds(), b.clear(ctx)
}

// removeWebhook removes the registration of the webhook for pods.
func (b *bench) removeWebhook(ctx context.Context) (restore func() error, err error) {
	webhooks := b.rig.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	config, err := webhooks.Get(ctx, api.WebhookConfiguration, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if err := webhooks.Delete(ctx, config.Name, metav1.DeleteOptions{}); err != nil {
		return nil, err
	}
	config.ResourceVersion, config.UID = "", ""
	return func() error {
		_, err := webhooks.Create(context.WithoutCancel(ctx), config, metav1.CreateOptions{})
		return err
	}, nil
}

// awaitGate waits until the API server gates pods that opt in, or no longer does.
func (b *bench) awaitGate(ctx context.Context, want bool) error {
	for {
		p := pod("probe")
		optIn(p)
		p, err := b.rig.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && api.HasCapacityGate(p) == want {
			return nil
		}
		if err := wait(ctx); err != nil {
			return err
		}
	}
}

// settling is for how long the memory is looked at once all pods are there.
const settling = time.Minute

// memory returns how many MiB the process has resident, at the most, when the
// cluster is full of pods that run and pods that wait.
func (b *bench) memory(ctx context.Context) (float64, error) {
	if err := b.createPods(ctx, "run", running, func(i int, p *corev1.Pod) { p.Spec.NodeName = nodeName(i % largeCluster) }); err != nil {
		return 0, err
	}
	if err := b.createPods(ctx, "wait", waiting, func(_ int, p *corev1.Pod) { optIn(p) }); err != nil {
		return 0, err
	}
	most := 0.0
	for end := time.Now().Add(settling); time.Now().Before(end); {
		resident, err := b.resident(ctx)
		if err != nil {
			return 0, err
		}
		most = max(most, resident)
		if err := wait(ctx); err != nil {
			return 0, err
		}
	}
	return most, nil
}

// resident is the resident memory of Tidegate's process in MiB, by its metrics.
func (b *bench) resident(ctx context.Context) (float64, error) {
	_, text := b.tidegate.Metrics(ctx)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("read the metrics: %w", err)
	}
	family := families["process_resident_memory_bytes"]
	if family == nil || len(family.Metric) != 1 {
		return 0, errors.New("the metrics have no process_resident_memory_bytes")
	}
	return family.Metric[0].GetGauge().GetValue() / (1 << 20), nil
}
