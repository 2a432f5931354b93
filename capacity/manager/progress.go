package manager

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

const (
	// firstHold and longestHold bound how long a node's next step waits after a
	// failed one; it doubles each time.
	firstHold   = 500 * time.Millisecond
	longestHold = time.Minute
	// disprovedHold is how long a node stays unfenced after a fence that could
	// not be proved: somebody has to mend the policy first.
	disprovedHold = time.Minute
	// disprovedTold is how long readiness tells of such a fence if no other is proved
	// meanwhile: without nodes to retire nobody tries.
	disprovedTold = 15 * time.Minute
)

// progress is what this process alone knows of the nodes' retirements. It is
// not stored: a proof counts only for the process that made it, so that
// neither a clock that differs nor an old leader can shorten the settling.
type progress struct {
	now   func() time.Time
	mu    sync.Mutex
	nodes map[types.UID]*nodeProgress
	// unproved is when a fence could not be proved last; zero once one was.
	unproved time.Time
}

type nodeProgress struct {
	token           string // the fence that proving and proved are about
	proving, proved time.Time
	holdUntil       time.Time
	fenceAfter      time.Time
	failures        int
	missingSince    int
	taken           bool
	silence         time.Time // that it was told of
	contradiction   string    // that it was told of
}

func newProgress(now func() time.Time) *progress {
	return &progress{now: now, nodes: map[types.UID]*nodeProgress{}}
}

// show adds what is known to the node, and reports whether there is anything.
func (p *progress) show(n *capacity.Node) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.nodes[n.UID]
	if known == nil {
		return false
	}
	n.MissingSince = known.missingSince
	n.HoldUntil, n.FenceAfter = known.holdUntil, known.fenceAfter
	if known.token == n.Fence {
		n.Proving, n.Proved = known.proving, known.proved
	}
	return true
}

// proof records an attempt to prove the fence with that token.
func (p *progress) proof(node types.UID, token string, proved bool) {
	p.change(node, func(n *nodeProgress) {
		if n.token != token {
			n.token, n.proving, n.proved = token, p.now(), time.Time{}
		}
		if proved && n.proved.IsZero() {
			n.proved = p.now()
		}
		if proved {
			p.unproved = time.Time{}
		}
	})
}

// failure says that fences cannot be proved at present, nil if they can as far as
// anybody knows.
func (p *progress) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unproved.IsZero() || p.now().Sub(p.unproved) >= disprovedTold {
		return nil
	}
	return fmt.Errorf("the fence of a node could not be proved at %s, so no machine is deleted: is ValidatingAdmissionPolicy %s with its binding in place, and does every API server answer?",
		p.unproved.UTC().Format("15:04:05 MST"), api.FencePolicy)
}

// provedIn returns how long the proof of the node's fence took.
func (p *progress) provedIn(node types.UID) time.Duration {
	n := p.node(node)
	return n.proved.Sub(n.proving)
}

// node returns what is known of the node.
func (p *progress) node(node types.UID) nodeProgress {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.nodes[node]; n != nil {
		return *n
	}
	return nodeProgress{}
}

// failed holds the node's next step back, longer each time.
func (p *progress) failed(node types.UID) {
	p.change(node, func(n *nodeProgress) {
		n.holdUntil = p.now().Add(min(firstHold<<min(n.failures, 20), longestHold))
		n.failures++
	})
}

// succeeded forgets earlier failures.
func (p *progress) succeeded(node types.UID) {
	p.change(node, func(n *nodeProgress) { n.failures, n.holdUntil = 0, time.Time{} })
}

// disproved keeps the node from the next fence after one that could not be
// proved.
func (p *progress) disproved(node types.UID) {
	p.change(node, func(n *nodeProgress) {
		p.unproved = p.now()
		n.fenceAfter = p.unproved.Add(disprovedHold)
	})
}

// missing records that the list of that number lacks the node's machine, or, if
// it is 0, that the machine is there.
func (p *progress) missing(node types.UID, list int) {
	p.change(node, func(n *nodeProgress) {
		if (n.missingSince == 0) != (list == 0) {
			n.missingSince = list
		}
	})
}

// taken records that it was told that the node's machine goes without us. It
// reports whether that is news.
func (p *progress) taken(node types.UID) (news bool) {
	p.change(node, func(n *nodeProgress) { news, n.taken = !n.taken, true })
	return news
}

// silent records that it was told that the node is silent since then. It reports
// whether that is news.
func (p *progress) silent(node types.UID, since time.Time) (news bool) {
	p.change(node, func(n *nodeProgress) { news, n.silence = !n.silence.Equal(since), since })
	return news
}

// contradicted records that it was told what keeps the node's deletion from going
// on, "" for nothing. It reports whether that is news.
func (p *progress) contradicted(node types.UID, why string) (news bool) {
	p.change(node, func(n *nodeProgress) { news, n.contradiction = why != "" && n.contradiction != why, why })
	return news
}

// keep drops what is known of all other nodes: they are gone.
func (p *progress) keep(nodes map[types.UID]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.nodes, func(node types.UID, _ *nodeProgress) bool { return !nodes[node] })
}

func (p *progress) change(node types.UID, do func(*nodeProgress)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[node]
	if n == nil {
		n = &nodeProgress{}
		p.nodes[node] = n
	}
	do(n)
}
