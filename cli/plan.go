package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/cli/layout"
)

// Plan is what Tidegate would do now.
type Plan struct {
	// Actions are in the order in which they would be started.
	Actions []Action `json:"actions"`
	// Waiting are the pods that would stay at the gate.
	Waiting []WaitingPod `json:"waiting"`
}

// Action is one thing that Tidegate would do.
type Action struct {
	// Do is the kind: buy, release, evict, give up, report, protect,
	// unprotect, approve, or a step of a node's life
	// such as mark or fence.
	Do string `json:"do"`
	// What it is done to: a pod, a node, or machines of a pool.
	What string `json:"what"`
	Why  string `json:"why,omitempty"`
}

// NewPlan puts a decision into words.
func NewPlan(d capacity.Decision) Plan {
	p := Plan{Actions: []Action{}, Waiting: []WaitingPod{}}
	for _, g := range d.Grows {
		machines := fmt.Sprintf("%d machines", g.To-g.From)
		if g.To-g.From == 1 {
			machines = "1 machine"
		}
		what := fmt.Sprintf("%s in %s, %d to %d", machines, g.Pool, g.From, g.To)
		p.Actions = append(p.Actions, Action{"buy", what, g.Why})
	}
	for _, r := range d.Releases {
		why := "towards node " + r.Node
		if r.Node == "" {
			why = "without room: " + r.Why
		}
		p.Actions = append(p.Actions, Action{"release", "pod " + r.Pod.String(), why})
	}
	for _, e := range d.Evictions {
		p.Actions = append(p.Actions, Action{"evict", "pod " + e.Pod.String(), strings.TrimSuffix("node "+e.Node+": "+e.Why, ": ")})
	}
	for _, s := range d.Steps {
		p.Actions = append(p.Actions, Action{string(s.Kind), "node " + s.Node, s.Why})
	}
	for _, r := range d.Repairs {
		do := "give up"
		if r.Report {
			do = "report"
		}
		p.Actions = append(p.Actions, Action{do, fmt.Sprintf("machine %s of %s", r.Instance.ID, r.Pool), r.Why})
	}
	for _, r := range d.Protections {
		action := Action{"protect", fmt.Sprintf("machine %s of %s", r.Instance.ID, r.Pool), "it has work"}
		if !r.Protect {
			action.Do, action.Why = "unprotect", "it has no work"
		}
		p.Actions = append(p.Actions, action)
	}
	for _, a := range d.Approvals {
		p.Actions = append(p.Actions, Action{"approve", "node " + a.Node, "an interruption need not wait"})
	}
	for _, r := range d.Reasons {
		w := WaitingPod{Namespace: r.Pod.Namespace, Name: r.Pod.Name, Reason: string(r.Code), Message: r.Text}
		if !r.Expected.IsZero() {
			w.Expected = &r.Expected
		}
		p.Waiting = append(p.Waiting, w)
	}
	slices.SortFunc(p.Waiting, func(a, b WaitingPod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return p
}

// Write shows the plan for people.
func (p Plan) Write(w io.Writer, now time.Time, style layout.Style) {
	if len(p.Actions) == 0 {
		fmt.Fprintln(w, "Tidegate would do nothing now.")
	} else {
		fmt.Fprintln(w, "Tidegate would do this now; nothing was done.")
	}
	t := layout.Table{Header: []string{"DO", "WHAT", "WHY"}}
	actions := p.Actions[:min(shownPods, len(p.Actions))]
	for _, a := range actions {
		t.Add(layout.Cells(a.Do, a.What, a.Why)...)
	}
	section(w, &t, style)
	more(w, len(p.Actions)-len(actions), "json")
	t = layout.Table{Header: []string{"WOULD WAIT", "STARTS IN", "REASON"}}
	waiting := p.Waiting[:min(shownPods, len(p.Waiting))]
	for _, pod := range waiting {
		t.Add(layout.Cells(pod.Namespace+"/"+pod.Name, startsIn(now, pod.Expected), pod.Message)...)
	}
	section(w, &t, style)
	more(w, len(p.Waiting)-len(waiting), "json")
}
