package manager

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/capacity"
)

func TestProgress(t *testing.T) {
	const node = types.UID("uid-node")
	for name, tc := range map[string]struct {
		do    func(p *progress, pass func(time.Duration))
		fence string
		want  capacity.Node // times are after created
	}{
		"nothing known": {do: func(*progress, func(time.Duration)) {}, fence: "a"},
		"a proof that is tried": {do: func(p *progress, _ func(time.Duration)) { p.proof(node, "a", false) }, fence: "a",
			want: capacity.Node{Proving: created}},
		"a proof after three seconds": {do: func(p *progress, pass func(time.Duration)) {
			p.proof(node, "a", false)
			pass(3 * time.Second)
			p.proof(node, "a", true)
			pass(time.Hour)
			p.proof(node, "a", true) // proved once more: the settling is not begun anew
		}, fence: "a", want: capacity.Node{Proving: created, Proved: created.Add(3 * time.Second)}},
		"the proof of an earlier fence": {do: func(p *progress, _ func(time.Duration)) { p.proof(node, "a", true) }, fence: "b"},
		"a later fence": {do: func(p *progress, pass func(time.Duration)) {
			p.proof(node, "a", true)
			pass(time.Minute)
			p.proof(node, "b", false)
		}, fence: "b", want: capacity.Node{Proving: created.Add(time.Minute)}},
		"one failure":  {do: func(p *progress, _ func(time.Duration)) { p.failed(node) }, want: capacity.Node{HoldUntil: created.Add(firstHold)}},
		"two failures": {do: func(p *progress, _ func(time.Duration)) { p.failed(node); p.failed(node) }, want: capacity.Node{HoldUntil: created.Add(2 * firstHold)}},
		"many failures": {do: func(p *progress, _ func(time.Duration)) {
			for range 100 {
				p.failed(node)
			}
		}, want: capacity.Node{HoldUntil: created.Add(longestHold)}},
		"a failure after a success": {do: func(p *progress, _ func(time.Duration)) {
			p.failed(node)
			p.failed(node)
			p.succeeded(node)
			p.failed(node)
		},
			want: capacity.Node{HoldUntil: created.Add(firstHold)}},
		"disproved":     {do: func(p *progress, _ func(time.Duration)) { p.disproved(node) }, want: capacity.Node{FenceAfter: created.Add(disprovedHold)}},
		"another node":  {do: func(p *progress, _ func(time.Duration)) { p.failed("other") }},
		"gone and back": {do: func(p *progress, _ func(time.Duration)) { p.failed(node); p.keep(map[types.UID]bool{"other": true}) }},
		"still there":   {do: func(p *progress, _ func(time.Duration)) { p.failed(node); p.keep(map[types.UID]bool{node: true}) }, want: capacity.Node{HoldUntil: created.Add(firstHold)}},
	} {
		t.Run(name, func(t *testing.T) {
			now := created
			p := newProgress(func() time.Time { return now })
			tc.do(p, func(d time.Duration) { now = now.Add(d) })
			got := capacity.Node{UID: node, Fence: tc.fence}
			p.show(&got)
			if got.Proving != tc.want.Proving || got.Proved != tc.want.Proved || got.HoldUntil != tc.want.HoldUntil || got.FenceAfter != tc.want.FenceAfter {
				t.Errorf("proving %s, proved %s, hold until %s, fence after %s, want %s, %s, %s, %s",
					got.Proving, got.Proved, got.HoldUntil, got.FenceAfter, tc.want.Proving, tc.want.Proved, tc.want.HoldUntil, tc.want.FenceAfter)
			}
		})
	}
}

// Readiness tells of a fence that could not be proved until one is, or until that is
// long ago.
func TestUnprovedFencesAreTold(t *testing.T) {
	const node = types.UID("uid-node")
	for name, tc := range map[string]struct {
		do   func(p *progress, pass func(time.Duration))
		want bool
	}{
		"nothing known": {do: func(*progress, func(time.Duration)) {}},
		"not proved":    {do: func(p *progress, _ func(time.Duration)) { p.disproved(node) }, want: true},
		"not proved yet": {do: func(p *progress, _ func(time.Duration)) {
			p.disproved(node)
			p.proof("other", "a", false)
		}, want: true},
		"another one is": {do: func(p *progress, _ func(time.Duration)) {
			p.disproved(node)
			p.proof("other", "a", true)
		}},
		"nor is the next": {do: func(p *progress, pass func(time.Duration)) {
			p.disproved(node)
			pass(disprovedTold - time.Second)
			p.disproved(node)
			pass(time.Minute)
		}, want: true},
		"nobody tries": {do: func(p *progress, pass func(time.Duration)) {
			p.disproved(node)
			p.keep(nil)
			pass(disprovedTold)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			now := created
			p := newProgress(func() time.Time { return now })
			tc.do(p, func(d time.Duration) { now = now.Add(d) })
			if err := p.failure(); (err != nil) != tc.want {
				t.Errorf("failure %v, want one: %t", err, tc.want)
			}
		})
	}
}
