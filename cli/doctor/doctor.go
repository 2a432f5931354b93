// Package doctor looks at a cluster for what keeps Tidegate from working, and
// says how each finding is mended. It sees what the caller's kubeconfig may see
// and changes nothing.
package doctor

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/cli"
)

// Verdict is the outcome of a check.
type Verdict string

// The verdicts.
const (
	// OK needs nothing.
	OK Verdict = "ok"
	// Warning is something that works otherwise than one may expect.
	Warning Verdict = "warning"
	// Failed keeps Tidegate from working.
	Failed Verdict = "failed"
	// Unknown is a check that could not be made.
	Unknown Verdict = "unknown"
)

// Finding is what one check has found.
type Finding struct {
	// Check names what was looked at.
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	// Fix says what to do; "" for OK.
	Fix string `json:"fix,omitempty"`
}

func ok(format string, args ...any) Finding {
	return Finding{Verdict: OK, Detail: fmt.Sprintf(format, args...)}
}

func warning(fix, format string, args ...any) Finding {
	return Finding{Verdict: Warning, Detail: fmt.Sprintf(format, args...), Fix: fix}
}

func failed(fix, format string, args ...any) Finding {
	return Finding{Verdict: Failed, Detail: fmt.Sprintf(format, args...), Fix: fix}
}

// unread is the finding of a check that could not read what it needs.
func unread(what string, err error) Finding {
	fix := "try again"
	if apierrors.IsForbidden(err) {
		fix = "use a kubeconfig that may read it"
	}
	return Finding{Verdict: Unknown, Detail: fmt.Sprintf("cannot read %s: %v", what, err), Fix: fix}
}

// Patient is the cluster that is examined.
type Patient struct {
	// Client reads the cluster; its scheme has cert-manager's kinds too.
	Client client.Client
	// Server is what the API server says of itself.
	Server Server
	// Cluster is what tidegate status is made of.
	Cluster cli.Cluster
	// Objects are what an installation applies.
	Objects []*unstructured.Unstructured
	// Machine is the one that the checks are made from.
	Machine Machine

	way way
}

// Server is what the API server says of itself.
type Server struct {
	// Version is Kubernetes' own, such as "v1.37.2+k3s1".
	Version string
	// Time is its clock's.
	Time time.Time
}

// Machine is what the machine that the checks are made from says of itself; it
// may be one of the cluster's servers.
type Machine struct {
	// Name is its node's, if it has one.
	Name string
	// MetadataGuarded reports whether it keeps its pods from Azure's metadata
	// service.
	MetadataGuarded func(context.Context) (bool, error)
	// SchedulerFaults are what is wrong with the files that its scheduler reads,
	// where the extender has that authority, in PEM, or one that is not known;
	// nil if they cannot be looked at.
	SchedulerFaults func(authority []byte) []string
}

// Examine makes every check, in the order in which they build on each other.
func Examine(ctx context.Context, p Patient) []Finding {
	p.way = findWay(ctx, p.Client)
	status := cli.Status(p.Cluster, "")
	findings := []Finding{}
	for _, check := range []struct {
		name string
		find func() Finding
	}{
		{"kubernetes", func() Finding { return kubernetesVersion(p.Server.Version) }},
		{"clocks", func() Finding { return clocks(ctx, p) }},
		{"workloads", func() Finding { return workloads(ctx, p) }},
		{"leader", func() Finding { return leader(status, p.Cluster.Now) }},
		{"azure", func() Finding { return azure(status) }},
		{"pools", func() Finding { return pools(status) }},
		{"acting", func() Finding { return acting(status) }},
		{"fence", func() Finding { return fence(ctx, p) }},
		{"agents", func() Finding { return agents(ctx, p) }},
		{"webhook", func() Finding { return webhook(ctx, p) }},
		{"certificates", func() Finding { return certificates(ctx, p) }},
		{"authority", func() Finding { return authority(ctx, p) }},
		{"scheduler", func() Finding { return scheduler(ctx, p) }},
		{"imds", func() Finding { return imds(ctx, p) }},
		{"autoscalers", func() Finding { return autoscalers(ctx, p, status) }},
	} {
		f := check.find()
		f.Check = check.name
		findings = append(findings, f)
	}
	return findings
}
