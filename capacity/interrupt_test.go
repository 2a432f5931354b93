package capacity

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// event is one that happens to the machines after that time.
func event(kind string, after time.Duration, machines ...string) api.Interruption {
	i := api.Interruption{ID: "e1", Type: kind, NotBefore: metav1.NewTime(now.Add(after))}
	for _, m := range machines {
		i.Resources = append(i.Resources, "agents_"+m)
	}
	return i
}

func announced(events ...api.Interruption) func(*Node) {
	return func(n *Node) { n.Interruptions = append(n.Interruptions, events...) }
}

func approvedFor(events ...api.Interruption) func(*Node) {
	return func(n *Node) { n.Approved = append(n.Approved, events...) }
}

// closed makes a node that is fenced only because of an interruption.
func closed(n *Node) {
	marked(n)
	n.Fence = "token"
	n.Taints = append(n.Taints, api.FenceTaint())
}

func owned(p *Pod)                      { p.Owned = true }
func terminating(p *Pod)                { p.Terminating = true }
func grace(d time.Duration) func(*Pod)  { return func(p *Pod) { p.Grace = d } }
func renamed(name string) func(p *Node) { return func(n *Node) { n.Instance.Name = name } }

func TestInterruption(t *testing.T) {
	one := pools(poolOf("agents", 1, running("n1")))
	two := pools(poolOf("agents", 2, running("n1", "n2"), bounds(1, 4)))
	preempt, reboot := event("Preempt", 30*time.Second, "n1"), event("Reboot", 15*time.Minute, "n1")
	is := func(changes ...func(*Node)) []*Node { return nodes(node("n1", changes...)) }
	scenarios{
		"the node is fenced and emptied": {
			in:   snapshot(one, is(announced(preempt)), pod("a", 1, on("n1"), owned)),
			want: []string{"fence n1", "evict a from n1"},
		},
		"for a Terminate too": {
			in:   snapshot(one, is(announced(event("Terminate", 5*time.Minute, "n1"))), pod("a", 1, on("n1"), owned)),
			want: []string{"fence n1", "evict a from n1"},
		},
		"for a Redeploy too": {
			in:   snapshot(one, is(announced(event("Redeploy", 10*time.Minute, "n1"))), pod("a", 1, on("n1"), owned)),
			want: []string{"fence n1", "evict a from n1"},
		},
		"for a Reboot too": {
			in:   snapshot(one, is(announced(reboot)), pod("a", 1, on("n1"), owned)),
			want: []string{"fence n1", "evict a from n1"},
		},
		"the fence is proved meanwhile, and DaemonSet and mirror pods stay": {
			in: snapshot(one, is(announced(preempt), closed),
				pod("a", 1, on("n1"), owned), pod("d", 1, on("n1"), of(Daemon)), pod("m", 1, on("n1"), of(Mirror))),
			want: []string{"prove n1", "evict a from n1"},
		},
		"what has run longest goes last": {
			in: snapshot(one, is(announced(preempt), closed),
				pod("old", 1, on("n1"), boundAgo(time.Hour)), pod("new", 1, on("n1"), boundAgo(time.Minute)), pod("middle", 1, on("n1"), boundAgo(30*time.Minute))),
			want: []string{"prove n1", "evict new from n1", "evict middle from n1", "evict old from n1"},
		},
		"what is about to go is left to it": {
			in: snapshot(one, is(announced(preempt), closed), pod("a", 1, on("n1"), terminating)), want: []string{"prove n1"},
		},
		"what ends in time by itself is left to it": {
			in:   snapshot(one, is(announced(reboot), closed), pod("a", 1, on("n1"), owned, endsIn(14*time.Minute), grace(30*time.Second))),
			want: []string{"prove n1"},
		},
		"not if it could no longer be asked to end once it is late": {
			in:   snapshot(one, is(announced(reboot), closed), pod("a", 1, on("n1"), owned, endsIn(14*time.Minute), grace(time.Minute))),
			want: []string{"prove n1", "evict a from n1"},
		},
		"nor if it is late already": {
			in:   snapshot(one, is(announced(reboot), closed), pod("a", 1, on("n1"), owned, endsIn(0))),
			want: []string{"prove n1", "evict a from n1"},
		},
		"the earliest of several counts": {
			in:   snapshot(one, is(announced(reboot, preempt), closed), pod("a", 1, on("n1"), owned, endsIn(time.Minute))),
			want: []string{"prove n1", "evict a from n1"},
		},
		"what nobody makes anew waits for its machine to come back": {
			in: snapshot(one, is(announced(reboot), closed), pod("a", 1, on("n1"))), want: []string{"prove n1"},
		},
		"but not if the machine goes as well": {
			in:   snapshot(one, is(announced(reboot, preempt), closed), pod("a", 1, on("n1"))),
			want: []string{"prove n1", "evict a from n1"},
		},
		"no pod comes to the node": {
			in:   snapshot(two, nodes(node("n1", announced(preempt), closed, proved(0)), node("n2")), pod("a", 2)),
			want: []string{"release a to n2", "approve e1 through n1 for n1"},
		},
		"not even if machines have to be bought": {
			in:   snapshot(one, is(announced(preempt)), pod("a", 2)),
			want: []string{"grow agents from 1 to 2", "fence n1", "a waits: MachinesComing"},
		},
		"neither keep nor an operator's request changes anything": {
			in:   snapshot(one, is(announced(preempt), keep, requested), pod("a", 1, on("n1"), owned)),
			want: []string{"fence n1", "evict a from n1"},
		},
		"a fence that cannot be proved stays": {
			in: snapshot(one, is(announced(preempt), closed, proving(time.Hour))), want: []string{"prove n1"},
		},
		"a step that failed is not repeated at once, what is evicted does not wait": {
			in:   snapshot(one, is(announced(preempt), held(time.Second)), pod("a", 1, on("n1"), owned)),
			want: []string{"evict a from n1"},
		},
		"a silent node is fenced and emptied as well": {
			in:   snapshot(one, is(announced(preempt), notReady), pod("a", 1, on("n1"), owned)),
			want: []string{"fence n1", "evict a from n1"},
		},

		"of another machine: ignored": {
			in:   snapshot(one, is(announced(event("Preempt", 30*time.Second, "n2"))), pod("a", 1, on("n1"), owned)),
			want: []string{"mark n1"}, // as ever
		},
		"on doubt which machine it is: ignored": {
			in: snapshot(one, is(announced(preempt), func(n *Node) { n.Recorded = "another" }), pod("a", 1, on("n1"), owned)), want: nil,
		},
		"outside every pool: ignored": {
			in: snapshot(one, is(announced(preempt), func(n *Node) { n.Pool = "" }), pod("a", 1, on("n1"), owned)), want: nil,
		},
		"in a pool that must not be managed: ignored": {
			in:   snapshot(pools(poolOf("agents", 1, running("n1"), refused("it is Flexible"))), is(announced(preempt)), pod("a", 1, on("n1"), owned)),
			want: nil,
		},
		"an hour overdue: ignored, and the fence goes": {
			in: snapshot(one, is(announced(event("Reboot", -time.Hour, "n1")), closed)), want: []string{"unfence n1"},
		},

		"over: the fence goes": {
			in: snapshot(one, is(closed)), want: []string{"unfence n1"},
		},
		"over: the approval goes first": {
			in: snapshot(one, is(closed, approvedFor(reboot))), want: []string{"forget-approval n1"},
		},
		"over on a node whose retirement was under way: that goes on": {
			in: snapshot(one, is(fencedAfter(idleAfter), proved(settle))), want: []string{"commit n1"},
		},
	}.run(t)
}

func TestApproval(t *testing.T) {
	one := pools(poolOf("agents", 1, running("n1")))
	two := pools(poolOf("agents", 2, running("n1", "n2")))
	preempt := event("Preempt", 30*time.Second, "n1", "n2")
	reboot := event("Reboot", 15*time.Minute, "n1")
	is := func(changes ...func(*Node)) []*Node { return nodes(node("n1", append(changes, closed)...)) }
	pair := func(e api.Interruption, first, second func(*Node)) []*Node {
		return nodes(node("n1", announced(e), closed, proved(settle), first), node("n2", announced(e), closed, proved(settle), second))
	}
	nothing := func(*Node) {}
	const approve = "approve e1 through n1 for n1"
	scenarios{
		"when the fence is proved and has settled": {
			in: snapshot(one, is(announced(reboot), proved(settle))), want: []string{approve},
		},
		"not before": {
			in: snapshot(one, is(announced(reboot), proved(settle-time.Second))), want: nil,
		},
		"where there is no time for that, at once": {
			in: snapshot(one, is(announced(event("Preempt", 30*time.Second, "n1")), proved(0))), want: []string{approve},
		},
		"not without a proof": {
			in: snapshot(one, is(announced(reboot))), want: []string{"prove n1"},
		},
		"not while a pod is on it": {
			in: snapshot(one, is(announced(reboot), proved(settle)), pod("a", 1, on("n1"), terminating)), want: nil,
		},
		"not while a pod is left on it": {
			in: snapshot(one, is(announced(reboot), proved(settle)), pod("a", 1, on("n1"))), want: nil,
		},
		"DaemonSet and mirror pods are no work": {
			in:   snapshot(one, is(announced(reboot), proved(settle)), pod("d", 1, on("n1"), of(Daemon)), pod("m", 1, on("n1"), of(Mirror))),
			want: []string{approve},
		},
		"once is enough": {
			in: snapshot(one, is(announced(reboot), proved(settle), approvedFor(reboot))), want: nil,
		},
		"again if what is announced has changed": {
			in: snapshot(one, is(announced(reboot), proved(settle), approvedFor(event("Reboot", time.Hour, "n1")))), want: []string{approve},
		},
		"not right after a failed attempt": {
			in: snapshot(one, is(announced(reboot), proved(settle), held(time.Second))), want: nil,
		},
		"not through a silent node": {
			in: snapshot(one, is(announced(reboot), proved(settle), notReady)), want: nil,
		},

		"of several machines": {
			in: snapshot(two, pair(preempt, nothing, nothing)), want: []string{"approve e1 through n1 for n1 n2"},
		},
		"through a node that is not silent": {
			in: snapshot(two, pair(preempt, notReady, nothing)), want: []string{"approve e1 through n2 for n1 n2"},
		},
		"not while one of them has work": {
			in: snapshot(two, pair(preempt, nothing, nothing), pod("a", 1, on("n2"), terminating)), want: nil,
		},
		"not while one of them is open": {
			in:   snapshot(two, nodes(node("n1", announced(preempt), closed, proved(settle)), node("n2", announced(preempt)))),
			want: []string{"fence n2"},
		},
		"not if one of them reports nothing": {
			in: snapshot(two, nodes(node("n1", announced(preempt), closed, proved(settle)), node("n2", emptyFor(0)))), want: nil,
		},
		"not if one of them is no node": {
			in: snapshot(two, nodes(node("n1", announced(preempt), closed, proved(settle)))), want: nil,
		},
		"not if it is uncertain which node one of them is": {
			in:   snapshot(two, pair(preempt, nothing, func(n *Node) { n.Recorded = "another" })),
			want: []string{"unfence n2"},
		},
		"names are compared without regard to case": {
			in: snapshot(two, pair(preempt, renamed("AGENTS_n1"), renamed("Agents_N2"))), want: []string{"approve e1 through n1 for n1 n2"},
		},

		"of our own deletion: at once": {
			in: snapshot(pools(poolOf("agents", 0, machine(Instance{ID: "id-n1", VMID: "vm-n1", State: InstanceDeleting}))),
				nodes(node("n1", committed, announced(event("Terminate", 5*time.Minute, "n1"))))),
			want: []string{approve},
		},
		"not of a deletion that is not ours": {
			in: snapshot(pools(poolOf("agents", 0, machine(Instance{ID: "id-n1", VMID: "vm-n1", State: InstanceDeleting}))),
				nodes(node("n1", announced(event("Terminate", 5*time.Minute, "n1"))))),
			want: []string{"fence n1"},
		},
		"not of a deletion that a kubelet made up": {
			in:   snapshot(one, nodes(node("n1", func(n *Node) { n.Deleting = n.Recorded }, announced(event("Terminate", 5*time.Minute, "n1"))))),
			want: nil,
		},
		"not of a deletion that is committed for another machine": {
			in:   snapshot(one, nodes(node("n1", committed, func(n *Node) { n.Deleting = "vm-n2" }, announced(event("Terminate", 5*time.Minute, "n1"))))),
			want: nil,
		},
		"one that goes and one that is empty": {
			in: snapshot(pools(poolOf("agents", 1, running("n1"), machine(Instance{ID: "id-n2", VMID: "vm-n2", State: InstanceDeleting}))),
				nodes(node("n1", announced(preempt), closed, proved(settle)), node("n2", committed, announced(preempt)))),
			want: []string{"approve e1 through n1 for n1 n2"},
		},
	}.run(t)
}

// What waits for time alone asks for a plan then.
func TestInterruptionAsksForItsNextLook(t *testing.T) {
	one := pools(poolOf("agents", 1, running("n1")))
	reboot := event("Reboot", 15*time.Minute, "n1")
	for name, tc := range map[string]struct {
		in   Snapshot
		want time.Duration
	}{
		"when a pod should have ended": {
			snapshot(one, nodes(node("n1", announced(reboot), closed)), pod("a", 1, on("n1"), owned, endsIn(5*time.Minute))), 5 * time.Minute,
		},
		"when the fence has settled": {
			snapshot(one, nodes(node("n1", announced(reboot), closed, proved(settle/2)))), settle / 2,
		},
		"when the report is void": {
			snapshot(one, nodes(node("n1", announced(reboot), closed))), 75 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Plan(tc.in).NextLook.Sub(now); got != tc.want {
				t.Errorf("next look in %s, want %s", got, tc.want)
			}
		})
	}
}

// A person reads why a pod is evicted and a node fenced.
func TestInterruptionSaysWhy(t *testing.T) {
	d := Plan(snapshot(pools(poolOf("agents", 1, running("n1"))),
		nodes(node("n1", announced(event("Preempt", 30*time.Second, "n1")))), pod("a", 1, on("n1"), owned)))
	const want = "Azure announces: Preempt, not before 12:00:30 UTC"
	if len(d.Steps) != 1 || len(d.Evictions) != 1 || d.Evictions[0].Late {
		t.Fatalf("decision %+v", d)
	}
	if diff := cmp.Diff([]string{want, want}, []string{d.Steps[0].Why, d.Evictions[0].Why}); diff != "" {
		t.Errorf("why (-want +got):\n%s", diff)
	}
	late := Plan(snapshot(pools(poolOf("agents", 1, running("n1"))), nodes(node("n1", committed)), pod("a", 1, on("n1"))))
	if len(late.Evictions) != 1 || !late.Evictions[0].Late || !strings.Contains(late.Evictions[0].Why, "committed") {
		t.Errorf("evictions from a node that is being deleted: %+v", late.Evictions)
	}
}
