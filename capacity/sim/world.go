package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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

	plan plan
	// faulty is false in a run in which nothing goes wrong.
	faulty bool
	faults faults
	// chance decides about faults; other choices do not depend on it.
	chance *rand.Rand

	identity   string // the client ID
	processes  []*process
	agents     []*process
	serving    *call     // the request that is being carried out
	proved     time.Time // when an API server last refused a trial
	front      *front
	rivals     int // pods that the other scheduler was given
	starts     int
	starting   bool // a process is about to start
	over       bool
	begin      time.Time
	tick       time.Time // when the cloud is looked at next; zero if it is not
	violations []string
	gangs      map[string]bool // those of which a pod was released

	announcements []announcement
	slowestBoot   time.Duration
	watched       map[string]bool    // machines with an agent that runs, by VMID
	taken         map[types.UID]bool // nodes whose machine Azure takes
	takenNames    map[string]bool
	fenced        map[types.UID]time.Time // when nodes were fenced or unfenced last
	reported      map[types.UID]time.Time // when a node last said what is announced for it
	bound         map[types.UID]time.Time // when pods were bound
	lost          map[types.UID]bool      // pods that went with a machine that Azure took
	restarted     time.Time               // when a restart, of whatever kind, was committed last
	unjoined      map[string][]time.Time  // when machines of a pool went that had not joined
	gone          map[string]time.Time    // when machines went, by system UUID in lower case
	doomed        map[string]bool         // machines, by VMID, whose end or restart was committed
	byHand        bool                    // what happens in Azure right now is a person's doing
	read          int                     // how much of the cloud's history was looked at

	record bool
	log    []string
	mu     sync.Mutex
	lines  []string // said by processes since the last event
}

// runs counts the worlds of this process.
var runs atomic.Int64

// newWorld returns the world of a seed, in a synctest bubble. Without faults the
// same work comes, and nothing goes wrong.
func newWorld(seed uint64, faulty, record bool) (*World, error) {
	w := &World{
		Seed: seed, Loop: loop.New(seed), begin: time.Now(), record: record,
		faulty: faulty, chance: rand.New(rand.NewPCG(seed, 2)),
		unjoined: map[string][]time.Time{}, gone: map[string]time.Time{}, doomed: map[string]bool{}, gangs: map[string]bool{}, watched: map[string]bool{}, taken: map[types.UID]bool{}, takenNames: map[string]bool{}, lost: map[types.UID]bool{},
		fenced: map[types.UID]time.Time{}, reported: map[types.UID]time.Time{}, bound: map[types.UID]time.Time{},
	}
	w.faults = newFaults(w.chance)
	w.plan = newPlan(rand.New(rand.NewPCG(seed, 1)))
	w.Cluster = cluster.New(w.Loop, w.plan.servers...)
	w.Cluster.Delays = calm
	if faulty {
		w.faults.disturb(&w.Cluster.Delays)
	}
	cfg := w.plan.azure
	cfg.Seed = seed
	cfg.PollAfter = metav1.Duration{Duration: 10 * time.Second}
	cfg.Observers = []emulator.Observer{observer{w}}
	// azidentity shares tokens in the whole process, by identity: with one of its
	// own no run sees another's.
	w.identity = fmt.Sprintf("11111111-1111-4111-8111-%012x", runs.Add(1))
	cfg.UserAssigned = []emulator.Identity{{Name: "simulation", ClientID: w.identity}}
	var err error
	if w.Cloud, err = emulator.NewCloud(cfg); err != nil {
		return nil, err
	}
	w.Loop.Between = w.between
	w.Cluster.Hang = w.hang
	w.Cluster.Store.Watch(w.seen)
	w.front = newFront(w.Cluster)
	return w, nil
}

// between comes between events, when all goroutines wait.
func (w *World) between() {
	w.writeDown()
	if next, ok := w.Cloud.Next(); ok && (w.tick.IsZero() || next.Before(w.tick)) {
		w.tick = next
		w.Loop.At(next, func() {
			w.tick = time.Time{}
			w.Cloud.Advance(time.Now())
			w.checkCloud()
		})
	}
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
				var contentType string
				c.status, contentType, c.answer = server.Serve(c.from.name, c.http, c.body)
				c.header = http.Header{"Content-Type": {contentType}}
				if c.status == http.StatusUnprocessableEntity {
					w.proved = time.Now()
				}
				w.logf("%s %s: %d", c.from.name, c, c.status)
				return
			}
		}
		c.err = fmt.Errorf("nobody listens at %s", host)
	}
	w.logf("%s %s: %d", c.from.name, c, c.status)
}

func (w *World) serveAzure(c *call, handler http.Handler) {
	// What has arrived is carried out, also if the client has hung up.
	in := c.http.Clone(context.WithoutCancel(c.http.Context()))
	in.Host, in.RequestURI = c.http.URL.Host, c.http.URL.RequestURI()
	in.Body = http.NoBody
	if len(c.body) > 0 {
		in.Body = io.NopCloser(bytes.NewReader(c.body))
	}
	recorder := httptest.NewRecorder()
	w.checkOperation(c)
	defer w.checkCloud()
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

// What the manager draws for itself: the names of pods that do not exist, and
// the tokens of fences.
var (
	proofName  = regexp.MustCompile("fence-proof-[a-z0-9]+")
	fenceToken = regexp.MustCompile("token=[0-9a-f]+")
)

// plain leaves out of a text what differs in another run of the seed.
func (w *World) plain(text string) string {
	if strings.Contains(text, "fence-proof-") { // most texts have none of them
		text = proofName.ReplaceAllString(text, "fence-proof")
	}
	if strings.Contains(text, "token=") {
		text = fenceToken.ReplaceAllString(text, "token=TOKEN")
	}
	return strings.ReplaceAll(text, w.identity, "ID")
}

// heard takes a line from a process's goroutine.
func (w *World) heard(line string) {
	if !w.record {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, w.plain(line))
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
