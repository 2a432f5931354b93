package cli

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
)

// Report is what tidegate status shows.
type Report struct {
	Leader Leader `json:"leader"`
	// Paused is true while an operator's annotation keeps Tidegate from acting,
	// ObserveOnly while the leader says that it only observes.
	Paused      bool `json:"paused"`
	ObserveOnly bool `json:"observeOnly"`
	// Problem says why the leader cannot read the pools, "" if it can.
	Problem  string       `json:"problem,omitempty"`
	Pools    []PoolReport `json:"pools"`
	Machines []Machine    `json:"machines"`
	Waiting  []WaitingPod `json:"waiting"`
}

// Leader is the process that decides.
type Leader struct {
	// Identity is the holder of the lease, "" for none.
	Identity string `json:"identity,omitempty"`
	// Renewed is when it last said that it is there.
	Renewed time.Time `json:"renewed,omitzero"`
	// Alive is true while its lease has not run out.
	Alive bool `json:"alive"`
}

// PoolReport is a pool as the leader published it, and its nodes.
type PoolReport struct {
	api.PoolStatus `json:",inline"`
	// Ready counts the pool's nodes that are ready.
	Ready int `json:"ready"`
}

// WaitingPod is a pod that has no node yet.
type WaitingPod struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Since     time.Time `json:"since,omitzero"`
	// Reason is the short form of Message.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Expected is when it is expected to start; nil if nobody knows.
	Expected *time.Time `json:"expected,omitempty"`
}

// Status reports on the cluster. Only pods of the namespace are listed as
// waiting, or all if it is "".
func Status(c Cluster, namespace string) Report {
	r := Report{
		Leader:      leader(c),
		Paused:      c.Published != nil && api.ObserveOnly(c.Published),
		ObserveOnly: c.Status.ObserveOnly,
		Problem:     c.Status.Problem,
		Pools:       []PoolReport{},
		Machines:    machines(c),
		Waiting:     waiting(c, namespace),
	}
	if !r.Paused && !r.ObserveOnly {
		expect(c, r.Waiting)
	}
	ready := map[string]int{}
	for i := range c.Nodes {
		if readyCondition(&c.Nodes[i]).Status == corev1.ConditionTrue {
			ready[c.Nodes[i].Labels[api.PoolLabel]]++
		}
	}
	for _, p := range c.Status.Pools {
		r.Pools = append(r.Pools, PoolReport{PoolStatus: p, Ready: ready[p.Name]})
	}
	return r
}

func leader(c Cluster) Leader {
	if c.Lease == nil || c.Lease.Spec.HolderIdentity == nil || *c.Lease.Spec.HolderIdentity == "" {
		return Leader{}
	}
	l := Leader{Identity: *c.Lease.Spec.HolderIdentity}
	if renewed := c.Lease.Spec.RenewTime; renewed != nil {
		l.Renewed = renewed.Time
	}
	if seconds := c.Lease.Spec.LeaseDurationSeconds; seconds != nil {
		l.Alive = c.Now.Before(l.Renewed.Add(time.Duration(*seconds) * time.Second))
	}
	return l
}

// waiting returns the pods behind the gate, and those that were let through and
// have no node yet, oldest first.
func waiting(c Cluster, namespace string) []WaitingPod {
	found := []WaitingPod{}
	for i := range c.Pods {
		p := &c.Pods[i]
		condition := capacityCondition(p)
		released := condition != nil && condition.Status == corev1.ConditionTrue
		if namespace != "" && p.Namespace != namespace || p.Spec.NodeName != "" || !api.HasCapacityGate(p) && !released {
			continue
		}
		w := WaitingPod{Namespace: p.Namespace, Name: p.Name, Since: p.CreationTimestamp.Time, Reason: "New", Message: "Tidegate has not looked at it yet"}
		if condition != nil {
			w.Reason, w.Message = condition.Reason, condition.Message
		}
		found = append(found, w)
	}
	slices.SortFunc(found, func(a, b WaitingPod) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return found
}

// expect adds when the pods may start, by a plan of our own.
func expect(c Cluster, pods []WaitingPod) {
	decision, err := c.Decision()
	if err != nil {
		return // nobody knows, and the rest of the report says why
	}
	expected := map[types.NamespacedName]time.Time{}
	for _, reason := range decision.Reasons {
		if !reason.Expected.IsZero() {
			expected[reason.Pod] = reason.Expected
		}
	}
	for i := range pods {
		if t, ok := expected[types.NamespacedName{Namespace: pods[i].Namespace, Name: pods[i].Name}]; ok {
			pods[i].Expected = &t
		}
	}
}

// capacityCondition returns the condition by which Tidegate speaks of the pod,
// nil if it has not spoken.
func capacityCondition(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == api.CapacityCondition {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}
