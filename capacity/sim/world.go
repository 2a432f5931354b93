package sim

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
	"github.com/tidegate-k3s/tidegate/capacity/sim/loop"
)

const (
	imdsHost = "imds.simulation"
	armHost  = "arm.simulation"
)

// World is all that a seed decides about, and what has become of it.
type World struct {
	Seed    uint64
	Loop    *loop.Loop
	Cluster *cluster.Cluster
	Cloud   *emulator.Cloud

	plan       plan
	processes  []*process
	started    int
	begin      time.Time
	tick       time.Time // when the cloud is looked at next; zero if it is not
	violations []string
	read       int // how much of the cloud's history was looked at

	record bool
	log    []string
	mu     sync.Mutex
	lines  []string // said by processes since the last event
}

// newWorld returns the world of a seed, in a synctest bubble.
func newWorld(seed uint64, record bool) (*World, error) {
	w := &World{Seed: seed, Loop: loop.New(seed), begin: time.Now(), record: record}
	w.plan = newPlan(rand.New(rand.NewPCG(seed, 1)))
	w.Cluster = cluster.New(w.Loop, w.plan.servers...)
	w.Cluster.Delays = w.plan.delays
	cfg := w.plan.azure
	cfg.Seed = seed
	cfg.PollAfter = metav1.Duration{Duration: 10 * time.Second}
	cfg.Observers = []emulator.Observer{observer{w}}
	// azidentity keeps tokens of more than 5 minutes for the whole process:
	// with shorter ones no seed sees another's.
	cfg.TokenLifetime = metav1.Duration{Duration: 4 * time.Minute}
	var err error
	if w.Cloud, err = emulator.NewCloud(cfg); err != nil {
		return nil, err
	}
	w.Loop.After = w.after
	w.Cluster.Store.Watch(w.seen)
	newFront(w.Cluster)
	return w, nil
}

// after comes after each event.
func (w *World) after() {
	w.writeDown()
	w.checkCloud()
	if next, ok := w.Cloud.Next(); ok && (w.tick.IsZero() || next.Before(w.tick)) {
		w.tick = next
		w.Loop.At(next, func() {
			w.tick = time.Time{}
			w.Cloud.Advance(time.Now())
		})
	}
}

// begin gives the request its fate. It is called by the loop.
func (c *call) begin(release func()) {
	w := c.from.world
	w.Loop.In(10*time.Millisecond, func() {
		w.serve(c)
		w.Loop.In(10*time.Millisecond, release)
	})
}

// serve lets the server that the request is for carry it out.
func (w *World) serve(c *call) {
	switch host := c.http.URL.Host; host {
	case imdsHost:
		w.serveAzure(c, w.Cloud.IMDSHandler())
	case armHost:
		w.serveAzure(c, w.Cloud.ARMHandler())
	default:
		for _, server := range w.Cluster.Servers {
			if server.Host == host {
				c.header = http.Header{"Content-Type": {"application/json"}}
				c.status, c.answer = server.Serve(c.from.name, c.http, c.body)
				return
			}
		}
		c.err = fmt.Errorf("nobody listens at %s", host)
	}
	w.logf("%s %s: %d", c.from.name, c, c.status)
}

func (w *World) serveAzure(c *call, handler http.Handler) {
	in := c.http.Clone(c.http.Context())
	in.Host, in.RequestURI = c.http.URL.Host, c.http.URL.RequestURI()
	in.Body = http.NoBody
	if len(c.body) > 0 {
		in.Body = io.NopCloser(bytes.NewReader(c.body))
	}
	recorder := httptest.NewRecorder()
	defer func() {
		if r := recover(); r == http.ErrAbortHandler {
			c.err = errCut
		} else if r != nil {
			panic(r)
		}
	}()
	handler.ServeHTTP(recorder, in)
	c.status, c.header, c.answer = recorder.Code, recorder.Header(), recorder.Body.Bytes()
}

// fail notes that a promise was broken.
func (w *World) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(w.violations, text) {
		w.violations = append(w.violations, text)
		w.logf("VIOLATION: %s", text)
	}
}

// logf adds a line to the log.
func (w *World) logf(format string, args ...any) {
	if w.record {
		at := time.Since(w.begin)
		w.log = append(w.log, fmt.Sprintf("%9.3fs %s", at.Seconds(), fmt.Sprintf(format, args...)))
	}
}

// heard takes a line from a process's goroutine.
func (w *World) heard(line string) {
	if !w.record {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line)
}

// writeDown adds what the processes said, in an order of its own: which of two
// goroutines speaks first is not for the seed to decide.
func (w *World) writeDown() {
	w.mu.Lock()
	lines := w.lines
	w.lines = nil
	w.mu.Unlock()
	slices.Sort(lines)
	for _, line := range lines {
		w.logf("%s", line)
	}
}
