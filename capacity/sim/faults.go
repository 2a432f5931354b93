package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// faults is what may go wrong in a seed. A number says how rare something is:
// it happens to one request in so many, and never if it is 0.
type faults struct {
	// cutBefore and cutAfter lose a request, or its answer.
	cutBefore, cutAfter int
	// refused answers a request with a fault of the server's own, and denied
	// does so although it was carried out.
	refused, denied int
	// slow holds a request up on its way there, late its answer.
	slow, late int
	// crash ends the process before a request is carried out, or right after.
	crash int
	// lag holds watch events up, blind those of the scheduler, behind those of
	// the admission policy, joins the agents of new machines, and writes the
	// bindings that were admitted.
	lag, blind, behind, joins, writes int
	// hangs is how rarely the agent of a new machine takes so long that the machine
	// may be given up in the very moment in which it joins.
	hangs int
	// restarts is how often a process ends at any time, and overlaps how often
	// another one leads before an earlier one has ended.
	restarts, overlaps int
	// removals is how often somebody removes the fence's policy, and resyncs how
	// often an API server does not know its parameters.
	removals, resyncs int
	// absences is how often the scheduler cannot reach the extender.
	absences int
	// rivals is how rarely another scheduler binds a pod to a node right when
	// its retirement takes a step.
	rivals int
	// azure is how many requests Azure refuses, at once or late, and interruptions
	// how often it announces to take or to restart machines.
	azure, interruptions int
	// budgets is how often PodDisruptionBudgets let no pod go, hands how often a
	// person changes the capacity of a pool, and models how often the image.
	budgets, hands, models int
}

const (
	// requestLife is how long a request to an API server lives, whatever holds
	// it up. Source: kube-apiserver, --request-timeout.
	requestLife = time.Minute
	// slowest is how long a request is on its way at most. A client gives up
	// after 30 s, and then sends it once more: that one is never overtaken by
	// the first.
	slowest = 25 * time.Second
	// latest is how long an answer is on its way at most.
	latest = 4 * time.Minute
	// giveUp is after how long a machine that has not joined is given up.
	giveUp = 15 * time.Minute
	// longestLag is how far an informer falls behind.
	longestLag = 3 * time.Minute
)

// newFaults draws what goes wrong. Some seeds know only a few kinds of fault,
// so that one does not hide the effects of another.
func newFaults(r *rand.Rand) faults {
	f := faults{}
	rarities := []*int{&f.cutBefore, &f.cutAfter, &f.refused, &f.denied, &f.slow, &f.late, &f.lag, &f.blind, &f.behind, &f.joins, &f.writes}
	for _, n := range rarities {
		*n = []int{0, 0, 8, 30, 100}[r.IntN(5)]
	}
	f.rivals = []int{0, 1, 3, 10}[r.IntN(4)]
	f.crash = []int{0, 0, 50, 150}[r.IntN(4)]
	f.hangs = []int{0, 0, 2, 6}[r.IntN(4)]
	for _, n := range []*int{&f.restarts, &f.overlaps, &f.removals, &f.resyncs, &f.absences, &f.azure, &f.interruptions, &f.budgets, &f.hands, &f.models} {
		*n = max(0, r.IntN(6)-2)
	}
	return f
}

// disturb makes the delays those of the faults.
func (f *faults) disturb(d *cluster.Delays) {
	d.Watch.Rare, d.Watch.OneIn = longestLag, f.lag*3
	d.Scheduler.Rare, d.Scheduler.OneIn = longestLag, f.blind*4
	d.Policy.Rare, d.Policy.OneIn = longestLag, f.behind/4
	d.Join.Rare, d.Join.OneIn = 5*time.Minute, f.joins/8
	d.Write.Rare, d.Write.OneIn = requestLife, f.writes/8
	d.Request.Rare, d.Request.OneIn = slowest, f.slow
}

// hang is how much longer than usual the agent of a new machine takes. Only in
// pools with the startup taint Tidegate does something about that.
func (w *World) hang(vm emulator.VM) time.Duration {
	if w.faults.hangs == 0 || len(vm.Node.Taints) == 0 || !w.troubled() || w.chance.IntN(w.faults.hangs) > 0 {
		return 0
	}
	return giveUp - time.Minute + time.Duration(w.chance.Int64N(int64(3*time.Minute)))
}

// fate is what happens to one request.
type fate struct {
	before, after time.Duration
	cut           when
	crash         when
	// status, if not 0, is answered instead of the truth.
	status int
	when   when // whether the request is carried out all the same
}

// when says on which side of a request's being carried out something happens.
type when int

const (
	never when = iota
	before
	after
)

// fate decides what happens to a request.
func (w *World) fate() fate {
	r, f := w.chance, &w.faults
	hit := func(n int) bool { return n > 0 && w.troubled() && r.IntN(n) == 0 }
	upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
	out := fate{before: upTo(10 * time.Millisecond), after: upTo(10 * time.Millisecond)}
	if hit(f.slow) {
		out.before = upTo(slowest)
	}
	if hit(f.late) {
		out.after = upTo(latest)
	}
	switch {
	case hit(f.cutBefore):
		out.cut = before
	case hit(f.cutAfter):
		out.cut = after
	case hit(f.refused):
		out.when, out.status = before, http.StatusServiceUnavailable
	case hit(f.denied):
		out.when, out.status = after, http.StatusInternalServerError
	}
	if hit(f.crash) {
		out.crash = before + when(r.IntN(2))
	}
	return out
}

// troubled reports whether things may go wrong still.
func (w *World) troubled() bool { return w.faulty && time.Since(w.begin) < trouble }

// begin gives the request its fate. It is called by the loop.
func (c *call) begin(release func()) {
	w := c.from.world
	c.sent, c.listed = time.Now(), maps.Clone(c.from.listed)
	f := w.fate()
	w.Loop.In(f.before, func() {
		if f.crash == before {
			c.from.crash("before " + c.String())
		}
		if f.cut != before && f.when != before {
			w.serving = c
			w.serve(c)
			w.serving = nil
		}
		switch {
		case f.cut != never:
			w.logf("%s %s: cut %v", c.from.name, c, f.cut)
			c.err = errCut
		case f.when != never:
			w.logf("%s %s: %d %v", c.from.name, c, f.status, f.when)
			c.fault(f.status)
		}
		if f.crash == after {
			c.from.crash("after " + c.String())
		}
		w.Loop.In(f.after, func() {
			if c.err != nil || c.status >= http.StatusBadRequest {
				c.forget()
			}
			release()
		})
	})
}

// fault answers with a fault of the server's own. The Azure SDK makes its next
// attempt after the time that it is told; left to itself it would draw one.
func (c *call) fault(status int) {
	message := "simulated fault: " + http.StatusText(status)
	c.err, c.status = nil, status
	c.header = http.Header{"Content-Type": {"application/json"}}
	var body any = metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(status), Reason: metav1.StatusReasonInternalError, Message: message,
	}
	if host := c.http.URL.Host; host == armHost || host == imdsHost {
		c.header.Set("Retry-After-Ms", strconv.Itoa(700))
		body = map[string]any{"error": map[string]string{"code": "InternalServerError", "message": message}}
	}
	var err error
	if c.answer, err = json.Marshal(body); err != nil {
		panic(fmt.Sprintf("encode a fault: %v", err)) // its types always encode
	}
}

func (t when) String() string {
	return [...]string{"never", "before it was carried out", "after it was carried out"}[t]
}
