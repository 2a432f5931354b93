package manager

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

func TestPublishedStatus(t *testing.T) {
	shape := &fit.Shape{Labels: map[string]string{"a": "b"}, Allocatable: fit.Resources{MilliCPU: 8000, Memory: 32 << 30, Pods: 110}, CSI: &fit.CSI{Unknown: true}}
	daemon := &fit.Class{ID: "d", Requests: fit.Resources{MilliCPU: 500, Pods: 1}}
	list := func(cpu, memory, pods string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse(pods), corev1.ResourceEphemeralStorage: *resource.NewQuantity(0, resource.BinarySI)}
	}
	pool := func(change func(*capacity.PoolState)) []capacity.PoolState {
		p := capacity.PoolState{Pool: capacity.Pool{Name: "agents", Capacity: 2, Settings: api.PoolSettings{Min: 1, Max: 6}}, BootTime: 90 * time.Second}
		change(&p)
		return []capacity.PoolState{p}
	}
	want := func(change func(*api.PoolStatus)) api.Status {
		p := api.PoolStatus{Name: "agents", Machines: 2, Min: 1, Max: 6, BootSeconds: 90}
		change(&p)
		return api.Status{Pools: []api.PoolStatus{p}}
	}
	for name, tc := range map[string]struct {
		pools []capacity.PoolState
		want  api.Status
	}{
		"no pools":             {want: api.Status{Pools: []api.PoolStatus{}}},
		"its machines unknown": {pools: pool(func(*capacity.PoolState) {}), want: want(func(*api.PoolStatus) {})},
		"not managed":          {pools: pool(func(p *capacity.PoolState) { p.Refused = "Flexible" }), want: want(func(p *api.PoolStatus) { p.State = "Flexible" })},
		"away":                 {pools: pool(func(p *capacity.PoolState) { p.AwayUntil, p.AwayReason = created.Add(1), "quota" }), want: want(func(p *api.PoolStatus) { p.State = "quota" })},
		"no longer away":       {pools: pool(func(p *capacity.PoolState) { p.AwayUntil, p.AwayReason = created, "quota" }), want: want(func(*api.PoolStatus) {})},
		"what DaemonSets take is deducted": {pools: pool(func(p *capacity.PoolState) { p.Shape = shape }), want: want(func(p *api.PoolStatus) {
			p.Offers = list("7500m", "32Gi", "109")
			p.Node = &api.NodeShape{Labels: shape.Labels, Allocatable: list("8", "32Gi", "110"), Volumes: &api.VolumeDrivers{Unknown: true, Topology: []string{}, Moved: []string{}}}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			got := shownShapes{}.status(capacity.Snapshot{Now: created, Pools: tc.pools, Daemons: []*fit.Class{daemon}})
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func statusMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: api.StatusConfigMap, Annotations: map[string]string{"somebody": "else's"}}, Data: data}
}

func TestPublishTouchesTheStatusOnly(t *testing.T) {
	for name, objects := range map[string][]runtime.Object{
		"anew":               nil,
		"into one there was": {statusMap(map[string]string{"other": "key", api.StatusKey: "old"})},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(objects...)
			p := &publisher{client: client}
			status := api.Status{Pools: []api.PoolStatus{{Name: "agents"}}}
			data := map[string]string{api.StatusKey: encode(status), api.BasisKey: "{}"}
			if !p.changed(data) {
				t.Fatal("nothing to publish, though nothing was")
			}
			if err := p.publish(t.Context(), data); err != nil {
				t.Fatal(err)
			}
			if p.changed(maps.Clone(data)) {
				t.Error("the same would be published again")
			}
			got, err := client.CoreV1().ConfigMaps(api.Namespace).Get(t.Context(), api.StatusConfigMap, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for key, text := range data {
				if got.Data[key] != text {
					t.Errorf("published as %s %q, want %q", key, got.Data[key], text)
				}
			}
			if len(objects) > 0 && (got.Annotations["somebody"] == "" || got.Data["other"] == "") {
				t.Errorf("annotations %v, data %v: want what is others' kept", got.Annotations, got.Data)
			}
			loaded, err := (&publisher{client: client}).load(t.Context())
			if diff := cmp.Diff(status, loaded); diff != "" || err != nil {
				t.Errorf("the next leader loads (-want +got):\n%s%v", diff, err)
			}
		})
	}
}

func TestPublishIsTriedAgainAfterAFailure(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("patch", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("configmaps"), api.StatusConfigMap, errors.New("no role"))
	})
	p := &publisher{client: client}
	data := map[string]string{api.StatusKey: "{}"}
	if err := p.publish(t.Context(), data); !apierrors.IsForbidden(err) {
		t.Errorf("error %v, want forbidden", err)
	}
	if !p.changed(data) {
		t.Error("a status that could not be published counts as published")
	}
}

func TestLoad(t *testing.T) {
	for name, tc := range map[string]struct {
		objects  []runtime.Object
		failures int // of the API server, at first
		want     int // pools
		wantErr  string
	}{
		"nothing there":                   {},
		"a ConfigMap without the status":  {objects: []runtime.Object{statusMap(nil)}},
		"what was published":              {objects: []runtime.Object{statusMap(map[string]string{api.StatusKey: `{"pools":[{"name":"agents"}]}`})}, want: 1},
		"after the API server's hiccup":   {objects: []runtime.Object{statusMap(map[string]string{api.StatusKey: `{"pools":[{"name":"agents"}]}`})}, failures: 5, want: 1},
		"not if the API server stays bad": {failures: 1000, wantErr: "hung up"},
		"malformed":                       {objects: []runtime.Object{statusMap(map[string]string{api.StatusKey: `{"pools":[{"name":"agents"},`})}, wantErr: api.StatusKey},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(tc.objects...)
				failures := tc.failures
				client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
					failures--
					return failures >= 0, nil, errors.New("the API server hung up")
				})
				started := time.Now()
				got, err := (&publisher{client: client}).load(t.Context())
				if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
					t.Errorf("error %v, want one that says %q", err, tc.wantErr)
				}
				if len(got.Pools) != tc.want {
					t.Errorf("%d pools, want %d", len(got.Pools), tc.want)
				}
				if took := time.Since(started); took > writeTimeout+time.Second {
					t.Errorf("took %s: the leader must begin all the same", took)
				}
			})
		})
	}
}

// TestWhatWasLearnedOutlivesARestart: until the pools were read nothing is
// published, and while they cannot be read only why; else it would be wiped out
// what an earlier leader has learned of pools that have no machines now.
func TestWhatWasLearnedOutlivesARestart(t *testing.T) {
	const earlier = `{"pools":[{"name":"agents","machines":2,"min":0,"max":6}]}`
	for name, tc := range map[string]struct {
		failure error
		want    string // published, "" for nothing
	}{
		"not read yet":   {failure: errUnread},
		"cannot be read": {failure: errors.New("no role"), want: earlier[:len(earlier)-1] + `,"problem":"no role"}`},
		"read":           {want: `{"pools":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, open404, interceptor.Funcs{})
			if err := w.typed.Tracker().Add(statusMap(map[string]string{api.StatusKey: earlier})); err != nil {
				t.Fatal(err)
			}
			if _, err := w.publisher.load(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.pools.err = tc.failure
			o := &observation{store: w.store}
			if tc.failure != nil {
				o.snapshot.PoolsUnknown = tc.failure.Error()
			}
			w.act(o, capacity.Decision{})
			for _, a := range w.lanes.reasons.waiting {
				if err := a.run(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tc.want, w.publisher.last[api.StatusKey]); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
		})
	}
}
