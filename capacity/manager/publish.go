package manager

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// warningKept is how long the status shows what somebody else did to a pool.
const warningKept = time.Hour

// publisher keeps the status ConfigMap.
type publisher struct {
	client kubernetes.Interface
	mu     sync.Mutex
	last   map[string]string // what was published last, by key
	pools  []api.PoolStatus  // as they were known last, to an earlier leader perhaps
	// encoded is what was last to be published, and status and basis what it says.
	encoded map[string]string
	status  api.Status
	basis   Basis
	shapes  shownShapes
}

// load reads what an earlier leader published; nothing is not an error. It
// tries for a while: a pool without machines may have its shape from there only,
// and what this leader publishes replaces it.
func (p *publisher) load(ctx context.Context) (api.Status, error) {
	var status api.Status
	var configMap *corev1.ConfigMap
	var failure error
	_ = wait.PollUntilContextTimeout(ctx, time.Second, writeTimeout, true, func(ctx context.Context) (bool, error) {
		configMap, failure = p.client.CoreV1().ConfigMaps(api.Namespace).Get(ctx, api.StatusConfigMap, metav1.GetOptions{})
		return failure == nil || apierrors.IsNotFound(failure), nil
	})
	if apierrors.IsNotFound(failure) {
		return status, nil
	}
	if failure != nil {
		return status, fmt.Errorf("read ConfigMap %s: %w", api.StatusConfigMap, failure)
	}
	status, err := api.ParseStatus(configMap)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pools = status.Pools
	return status, err
}

// data is what is to be published, by key. While no pool is known those that
// were known last stay: what was learned of them must not be lost.
func (p *publisher) data(o *observation, problem error, givenUp map[string]metav1.Time) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := p.shapes.status(o.snapshot)
	status.ObserveOnly, status.GivenUp = o.observeOnly, givenUp
	if problem != nil {
		status.Problem = problem.Error()
	}
	if o.snapshot.PoolsUnknown != "" {
		status.Pools = p.pools
	}
	p.pools = status.Pools
	// Most plans change nothing of it, and to compare costs less than to encode.
	basis := basisOf(o.snapshot)
	if p.encoded == nil || !reflect.DeepEqual(status, p.status) || !reflect.DeepEqual(basis, p.basis) {
		p.status, p.basis = status, basis
		p.encoded = map[string]string{api.StatusKey: encode(status), api.BasisKey: encode(basis)}
	}
	return p.encoded
}

func encode(what any) string {
	text, err := json.Marshal(what)
	if err != nil {
		panic(fmt.Sprintf("encode what is published: %v", err)) // its types always encode
	}
	return string(text)
}

// changed reports whether the data is to be published.
func (p *publisher) changed(data map[string]string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !maps.Equal(data, p.last)
}

// knows reports whether the status that was published last has the VMID.
func (p *publisher) knows(vmid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(p.last[api.StatusKey], vmid)
}

// givesUp reports whether the status that was published last says that the machine
// is given up.
func (p *publisher) givesUp(vmid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	status, err := api.ParseStatus(&corev1.ConfigMap{Data: p.last})
	_, givesUp := status.GivenUp[vmid]
	return err == nil && givesUp
}

// publish writes the data, and nothing else, to its ConfigMap, and makes that if
// it is not there.
func (p *publisher) publish(ctx context.Context, data map[string]string) error {
	configMaps := p.client.CoreV1().ConfigMaps(api.Namespace)
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: api.StatusConfigMap},
		Data:       data,
	}
	patch := encode(map[string]any{"data": data})
	_, err := configMaps.Patch(ctx, api.StatusConfigMap, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: api.ManagedBy})
	if apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{FieldManager: api.ManagedBy})
	}
	if err != nil {
		return fmt.Errorf("publish the status in ConfigMap %s: %w", api.StatusConfigMap, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = data
	return nil
}

func (m *Manager) publish(ctx context.Context, data map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := m.write("publish", func() error { return m.publisher.publish(ctx, data) })
	if err != nil {
		m.report(err, "cannot publish the status")
	}
	return err
}

// shownShapes are pools' shapes as they are published, by pool. To write them anew
// for every plan, and to compare them, would cost as much as the plan.
type shownShapes map[string]shownShape

type shownShape struct {
	of      *fit.Shape
	daemons []*fit.Class // that take their part of it
	offers  corev1.ResourceList
	node    *api.NodeShape
}

// show returns the shape as it is published.
func (m shownShapes) show(pool string, shape *fit.Shape, daemons []*fit.Class) shownShape {
	shown := m[pool]
	if shown.of != shape || !slices.Equal(shown.daemons, daemons) {
		shown = shownShape{
			of: shape, daemons: daemons, offers: shape.Offers(daemons).List(),
			node: publishedShape(shape),
		}
		m[pool] = shown
	}
	return shown
}

// status is what others need to know of the pools.
func (m shownShapes) status(s capacity.Snapshot) api.Status {
	status := api.Status{Pools: []api.PoolStatus{}}
	for i := range s.Pools {
		p := &s.Pools[i]
		pool := api.PoolStatus{
			Name: p.Name, VMSize: p.VMSize, Machines: p.Capacity, Min: p.Settings.Min, Max: p.Settings.Max,
			BootSeconds: p.BootTime.Seconds(), SlowBootSeconds: p.SlowBoot.Seconds(), State: p.Refused,
		}
		if s.Now.Before(p.AwayUntil) {
			pool.State = p.AwayReason
		}
		if failing, _ := p.Failing(s.Now); failing != "" {
			pool.State = failing
		}
		if p.Lowered != nil && s.Now.Sub(p.Lowered.At) < warningKept {
			pool.Warning = p.Lowered.String()
		}
		if p.Unlisted > 0 {
			pool.Warning = p.UnlistedText()
		}
		pool.StartupTaint = p.Tainted
		for vmid, since := range p.Unjoined {
			if pool.Joining == nil {
				pool.Joining = map[string]metav1.Time{}
			}
			pool.Joining[vmid] = metav1.NewTime(since)
		}
		for _, t := range p.RecentRepairs(s.Now) {
			pool.Repairs = append(pool.Repairs, metav1.NewTime(t))
		}
		if p.Shape != nil {
			shown := m.show(p.Name, p.Shape, s.Daemons)
			pool.Offers, pool.Node = shown.offers, shown.node
		}
		status.Pools = append(status.Pools, pool)
	}
	return status
}
