package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/azure"
	"github.com/tidegate-k3s/tidegate/capacity/manager"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// process is one Tidegate process: a manager that leads, or believes so, or an
// agent. Both are the real ones with real clients, whose every request goes
// through the world.
type process struct {
	world *World
	name  string
	// view, memory, metrics and listed are a manager's; the last is when it listed
	// the machines of a set.
	listed  map[string]time.Time
	view    *cluster.Cache
	memory  *memory
	metrics *prometheus.Registry
	life    context.Context
	kill    context.CancelFunc
	dead    atomic.Bool
	// began and died are when it did, the latter zero while it lives.
	began, died time.Time
	ended       chan struct{}
}

// start lets one more process lead.
func (w *World) start() *process {
	w.starts++
	p := &process{
		world: w, name: fmt.Sprintf("leader-%d", w.starts),
		began: time.Now(), view: w.Cluster.NewCache(), listed: map[string]time.Time{}, metrics: prometheus.NewRegistry(), ended: make(chan struct{}),
	}
	p.memory = newMemory(p.view)
	p.life, p.kill = context.WithCancel(context.Background())
	m, err := p.manager()
	if err != nil {
		panic(fmt.Sprintf("start a process: %v", err)) // nothing is sent yet, so the options are wrong
	}
	w.processes = append(w.processes, p)
	w.logf("%s starts", p.name)
	go func() {
		defer close(p.ended)
		_ = m.Start(p.life) // it fails only if the cache has no informers
	}()
	return p
}

// manager returns the manager with clients that send through the process.
func (p *process) manager() (*manager.Manager, error) {
	log := p.logger()
	config := &rest.Config{
		Host: "https://" + p.world.Cluster.Servers[0].Host, Transport: p, QPS: -1,
	}
	httpClient := &http.Client{Transport: p}
	typed, err := kubernetes.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{
		HTTPClient: httpClient, Scheme: clientgoscheme.Scheme, Mapper: mapper(),
		Cache: &client.CacheOptions{Reader: p.view},
	})
	if err != nil {
		return nil, err
	}
	cloud, err := azure.New(azure.Options{
		IMDSEndpoint: "http://" + imdsHost, ARMEndpoint: "https://" + armHost, ClientID: p.world.identity, Transport: p, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return manager.New(manager.Options{
		Cloud: cloud, Cache: p.view, Client: c, Config: config, Kubernetes: typed,
		Events: recorder{p}, Metrics: p.metrics, Log: log, Settle: manager.DefaultSettle,
	}), nil
}

// logger returns a logger that writes to the world's log, if there is one.
func (p *process) logger() logr.Logger {
	if !p.world.record {
		return logr.Discard()
	}
	return funcr.New(func(prefix, args string) { p.logf("%s %s", prefix, args) }, funcr.Options{})
}

// mapper knows the resources that the cluster knows.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, gvk := range cluster.Kinds() {
		scope := meta.RESTScopeNamespace
		if gvk.Kind == "Node" || gvk.Kind == "Namespace" {
			scope = meta.RESTScopeRoot
		}
		m.Add(gvk, scope)
	}
	return m
}

// recorder turns events into lines of the log.
type recorder struct{ process *process }

func (r recorder) Eventf(regarding, _ runtime.Object, kind, reason, _, note string, args ...any) {
	if !r.process.world.record {
		return
	}
	name := ""
	if o, ok := regarding.(client.Object); ok {
		name = o.GetName()
	}
	r.process.logf("event %s %s on %s: %s", kind, reason, name, fmt.Sprintf(note, args...))
}

func (p *process) logf(format string, args ...any) {
	if !p.dead.Load() {
		p.world.heard(p.name + ": " + fmt.Sprintf(format, args...))
	}
}

// crash ends the process at this very line. What it has sent is on its way.
func (p *process) crash(why string) {
	if p.dead.Swap(true) {
		return
	}
	p.died = time.Now()
	p.world.logf("%s dies: %s", p.name, why)
	if p.view != nil {
		p.view.Stop()
	}
	p.kill()
}

// RoundTrip sends a request into the world, and waits for its answer for as
// long as the process lives. It implements http.RoundTripper.
func (p *process) RoundTrip(r *http.Request) (*http.Response, error) {
	c := &call{from: p, http: r}
	if r.Body != nil {
		var err error
		if c.body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(p.life, func() { cancel(p.life.Err()) })()
	if err := p.life.Err(); err != nil {
		return nil, final{err}
	}
	action, _ := pprof.Label(r.Context(), manager.ActionLabel)
	key := strings.Join([]string{p.name, action, c.String()}, " ")
	if err := p.world.Loop.Park(ctx, key, c.begin); err != nil {
		// Of all that was set to this instant the loop decides what comes first.
		_ = p.world.Loop.Park(p.life, key, func(release func()) {
			p.world.Loop.In(0, func() {
				c.forget()
				release()
			})
		})
		return nil, final{err}
	}
	if c.err != nil {
		return nil, c.err
	}
	return &http.Response{
		Status: http.StatusText(c.status), StatusCode: c.status, Header: c.header, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(c.answer)), ContentLength: int64(len(c.answer)),
	}, nil
}

// final is an error after which the Azure SDK makes no attempt of its own: the
// pause before it would be drawn from a generator that no seed reaches.
type final struct{ error }

func (final) NonRetriable() {}

func (f final) Unwrap() error { return f.error }

// errCut is a connection that was reset.
var errCut = final{errors.New("connection reset by peer")}

// call is a request on its way.
type call struct {
	from *process
	http *http.Request
	body []byte
	sent time.Time
	// listed is when its process had listed the machines of a set last when it was
	// sent.
	listed map[string]time.Time

	// released are the pods that it let through the gate, and unknown is true
	// once the process will never know.
	released []types.UID
	unknown  bool

	status int
	header http.Header
	answer []byte
	err    error
}

// forget makes the process not know what the request has done.
func (c *call) forget() {
	c.unknown = true
	for _, pod := range c.released {
		delete(c.from.memory.released, pod)
	}
}

// String names the request, equal in every run of the seed.
func (c *call) String() string {
	text := c.http.Method + " " + c.http.URL.Host + c.http.URL.Path
	if c.http.URL.RawQuery != "" {
		text += "?" + c.http.URL.RawQuery
	}
	return c.from.world.plain(text)
}
