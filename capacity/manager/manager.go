// Package manager runs the capacity decisions: it takes a snapshot of the
// cluster and its pools, has package capacity plan, and carries the decision
// out. State lives in Kubernetes objects and in the cloud only.
package manager

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

const (
	// debounce is how long a first event waits for others before a plan.
	debounce = 50 * time.Millisecond
	// resync is the longest time between two plans.
	resync = 30 * time.Second
	// DefaultSettle is how long a proved fence stands before the live read: an
	// API request lives 60 s at most, so what was admitted before the fence has
	// been written by then. Source: kube-apiserver, --request-timeout.
	DefaultSettle = time.Minute
)

// Options are what a Manager works with.
type Options struct {
	Cloud Cloud
	// Cache holds pods, nodes, Jobs, DaemonSets, namespaces and what there is of
	// volumes; Client writes.
	Cache  cache.Cache
	Client client.Client
	// Config and Kubernetes reach the API server itself, for proofs and live
	// reads.
	Config     *rest.Config
	Kubernetes kubernetes.Interface
	Events     events.EventRecorder
	Metrics    prometheus.Registerer
	Log        logr.Logger
	// Settle is how long a proved fence stands before the live read.
	Settle time.Duration
	// Limits bound what is bought in all.
	Limits capacity.Limits
	// ObserveOnly says what would be done, and does nothing.
	ObserveOnly bool
	// Failpoint, if set, is called before and after every write with
	// "KIND:before" and "KIND:after".
	Failpoint func(name string)
}

// Manager is the capacity manager. One at a time runs in a cluster.
type Manager struct {
	cache      cache.Cache
	client     client.Client
	kubernetes kubernetes.Interface
	events     events.EventRecorder
	log        logr.Logger
	settle     time.Duration
	limits     capacity.Limits
	now        func() time.Time
	failpoint  func(string)

	observeOnly bool // by option; an operator may ask for it too
	withheld    bool // the last decision would have acted, and was only said

	metrics   *metrics
	pools     *pools
	store     *store
	progress  *progress
	prover    *prover
	publisher *publisher
	seen      map[types.UID]bool   // nodes that were observed before
	late      uids                 // pods counted as late binds
	evicted   uids                 // pods whose eviction was accepted
	givenUp   givenUp              // machines whose deletion may be under way although they never joined
	lowered   map[string]time.Time // of each pool, when a drop of its capacity was told of
	unlisted  map[string]bool      // pools of which it was told that machines do not come
	reported  map[string]bool      // VMIDs of machines that were told of because they do not join
	memory    capacity.Memory      // of the plan before
	measured  map[string]bool      // pools that the gauges describe

	kicks chan struct{}
	lanes lanes
}

// lanes keep the kinds of action from waiting for each other.
type lanes struct {
	cloud, nodes, pods, reasons *dispatcher
}

// New returns a Manager that starts with Start.
func New(o Options) *Manager {
	m := &Manager{
		cache: o.Cache, client: o.Client, kubernetes: o.Kubernetes,
		events: o.Events, log: o.Log, settle: o.Settle, now: time.Now, failpoint: o.Failpoint,
		observeOnly: o.ObserveOnly,
		metrics:     newMetrics(o.Metrics),
		limits:      o.Limits,
		prover:      newProver(o.Config, o.Kubernetes),
		lowered:     map[string]time.Time{},
		kicks:       make(chan struct{}, 1),
	}
	if m.failpoint == nil {
		m.failpoint = func(string) {}
	}
	m.progress = newProgress(m.now)
	m.store = newStore(m.now)
	m.pools = newPools(o.Cloud, m.now, o.Log, m.kick)
	m.publisher = &publisher{client: o.Kubernetes, shapes: shownShapes{}}
	m.lanes = lanes{
		cloud:   newDispatcher(16, m.kick),
		nodes:   newDispatcher(8, m.kick),
		pods:    newDispatcher(16, m.kick),
		reasons: newDispatcher(4, func() {}),
	}
	return m
}

// NeedLeaderElection says that one Manager at a time runs in a cluster.
func (m *Manager) NeedLeaderElection() bool { return true }

// Ready returns why the manager cannot do its work, nil if it can.
func (m *Manager) Ready() error { return m.pools.failure() }

// FencesReady returns why no machine is deleted, nil if fences can be proved as far
// as is known.
func (m *Manager) FencesReady() error { return m.progress.failure() }

// Start plans and acts until ctx ends; what is under way then is finished.
func (m *Manager) Start(ctx context.Context) error {
	if err := m.follow(ctx); err != nil {
		return err
	}
	status, err := m.publisher.load(ctx)
	if err != nil {
		m.log.Error(err, "cannot read what an earlier leader published; learning anew")
	}
	m.restore(status)
	m.log.Info("capacity manager leads", "settle", m.settle.String(), "observeOnly", m.observeOnly)

	// The first plan tells the pools which machines are nodes, so that their
	// first read already finds the sets that have no tags.
	next := m.step(ctx)
	finished := make(chan struct{})
	running := []func(context.Context){m.pools.run, m.lanes.cloud.run, m.lanes.nodes.run, m.lanes.pods.run, m.lanes.reasons.run}
	for _, run := range running {
		go func() {
			run(ctx)
			finished <- struct{}{}
		}()
	}
	m.loop(ctx, next)
	for range running {
		<-finished
	}
	return nil
}

// restore takes over what an earlier leader published.
func (m *Manager) restore(status api.Status) {
	m.pools.restore(status)
	m.givenUp.restore(status.GivenUp, m.now())
}

// follow keeps the store up to date with the caches, and returns once it is.
func (m *Manager) follow(ctx context.Context) error {
	var synced []toolscache.InformerSynced
	followed := []client.Object{&corev1.Pod{}, &corev1.Node{}, &batchv1.Job{}, &appsv1.DaemonSet{}, &corev1.ConfigMap{}}
	for _, object := range append(followed, m.store.objects.kinds()...) {
		informer, err := m.cache.GetInformer(ctx, object)
		if err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
		handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { m.store.set(object); m.kick() },
			UpdateFunc: func(_, object any) { m.store.set(object); m.kick() },
			DeleteFunc: func(object any) {
				if unseen, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
					object = unseen.Obj
				}
				m.store.remove(object)
				m.kick()
			},
		})
		if err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
		synced = append(synced, handler.HasSynced)
	}
	// On half of the cluster no plan may be made.
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("the cluster's objects were not all read: %w", ctx.Err())
	}
	return nil
}

// kick asks for a plan soon.
func (m *Manager) kick() {
	select {
	case m.kicks <- struct{}{}:
	default:
	}
}

// loop plans whenever something has changed, and at the latest after next.
func (m *Manager) loop(ctx context.Context, next time.Duration) {
	timer := time.NewTimer(next)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.kicks:
			select {
			case <-ctx.Done():
				return
			case <-time.After(debounce):
			}
			// What was kicked meanwhile is seen by this very plan.
			select {
			case <-m.kicks:
			default:
			}
		}
		timer.Reset(m.step(ctx))
	}
}

// step observes, plans and acts once, and returns when to do so again at the
// latest.
func (m *Manager) step(ctx context.Context) time.Duration {
	started := m.now()
	o, err := m.observe(ctx)
	if err != nil {
		m.log.Error(err, "cannot observe the cluster; trying again")
		return time.Second
	}
	decision := m.memory.Plan(o.snapshot)
	m.metrics.planSeconds.Observe(m.now().Sub(started).Seconds())
	m.measure(o)
	if o.observeOnly {
		decision = m.withhold(decision)
	}
	m.act(o, decision)
	if decision.NextLook.IsZero() {
		return resync
	}
	return min(resync, max(debounce, decision.NextLook.Sub(m.now())))
}

// withhold leaves of the decision what may be said, and logs once what is not
// done.
func (m *Manager) withhold(d capacity.Decision) capacity.Decision {
	if acts := d.Acts(); acts != m.withheld {
		m.withheld = acts
		if acts {
			m.log.Info("observing only; tidegate plan shows what would be done",
				"releases", len(d.Releases), "purchases", len(d.Grows), "steps", len(d.Steps), "evictions", len(d.Evictions))
		}
	}
	return d.ObserveOnly()
}

// measure sets the gauges that describe the snapshot.
func (m *Manager) measure(o *observation) {
	gated := 0
	for _, p := range o.snapshot.Waiting {
		if p.Gated {
			gated++
		}
	}
	m.metrics.gated.Set(float64(gated))
	m.metrics.cloudUp.Set(oneIf(m.pools.failure() == nil))
	m.metrics.observeOnly.Set(oneIf(o.observeOnly))
	gone := m.measured
	m.measured = map[string]bool{}
	for i := range o.snapshot.Pools {
		p := &o.snapshot.Pools[i]
		m.metrics.poolMachines.WithLabelValues(p.Name).Set(float64(p.Capacity))
		failing, _ := p.Failing(o.snapshot.Now)
		m.metrics.poolAway.WithLabelValues(p.Name).Set(oneIf(o.snapshot.Now.Before(p.AwayUntil) || failing != ""))
		m.metrics.poolBroken.WithLabelValues(p.Name).Set(float64(len(p.Broken(o.snapshot.Now))))
		m.measured[p.Name] = true
		delete(gone, p.Name)
	}
	for name := range gone {
		m.metrics.poolMachines.DeleteLabelValues(name)
		m.metrics.poolAway.DeleteLabelValues(name)
		m.metrics.poolBroken.DeleteLabelValues(name)
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
