package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
)

// workloads looks for Tidegate's own pods.
func workloads(ctx context.Context, p Patient) Finding {
	var there, lacking, agents []string
	for _, o := range p.Objects {
		key := client.ObjectKeyFromObject(o)
		var wants, has int32
		onMachines := false // of the pools, of which there may be none
		switch o.GetKind() {
		case "DaemonSet":
			var d appsv1.DaemonSet
			if err := p.Client.Get(ctx, key, &d); apierrors.IsNotFound(err) {
				continue
			} else if err != nil {
				return unread("DaemonSet "+key.String(), err)
			}
			wants, has = d.Status.DesiredNumberScheduled, d.Status.NumberReady
			onMachines = d.Spec.Template.Spec.ServiceAccountName == api.AgentAccount
		case "Deployment":
			var d appsv1.Deployment
			if err := p.Client.Get(ctx, key, &d); apierrors.IsNotFound(err) {
				continue
			} else if err != nil {
				return unread("Deployment "+key.String(), err)
			}
			wants, has = d.Status.Replicas, d.Status.ReadyReplicas
		default:
			continue
		}
		name := fmt.Sprintf("%s %s: %d of %d pods ready", o.GetKind(), key, has, wants)
		there = append(there, name)
		switch {
		case onMachines && has < wants:
			agents = append(agents, name)
		case !onMachines && (has < wants || wants == 0):
			lacking = append(lacking, name)
		}
	}
	switch {
	case len(there) == 0:
		return warning("install Tidegate; docs/install.md has the way for each cluster", "Tidegate does not run in this cluster; it may run beside it")
	case len(lacking) > 0:
		return failed("kubectl describe the pods: their events say what is missing; a DaemonSet that wants none finds no server with the label node-role.kubernetes.io/control-plane", "%s", strings.Join(lacking, "; "))
	case len(agents) > 0:
		return warning("a machine that has just joined starts its agent within a minute; if it stays, kubectl describe the pod: mostly the machine cannot pull the image", "Azure's announcements are not heard of on some machines: %s", strings.Join(agents, "; "))
	}
	return ok("%s", strings.Join(there, "; "))
}

func leader(r cli.Report, now time.Time) Finding {
	fix := "look at Tidegate's pods and their logs: kubectl get pods -A -l app.kubernetes.io/name=tidegate"
	switch l := r.Leader; {
	case l.Identity == "":
		return failed(fix, "nobody leads, so nothing is released, bought or retired")
	case !l.Alive:
		return failed(fix, "%s led, and last reported %s ago", l.Identity, api.ShortDuration(now.Sub(l.Renewed)))
	}
	return ok("%s", r.Leader.Identity)
}

// azure judges by what the leader published: it alone has the identity. Its
// text names the role or the address that is missing.
func azure(r cli.Report) Finding {
	if r.Problem != "" {
		return failed("the text says which role, scope or address is missing; docs/azure.md has the walk-through", "the leader cannot read the pools: %s", r.Problem)
	}
	if len(r.Pools) == 0 {
		return failed("tag the scale sets whose machines are agents of this cluster with tidegate: enabled", "no scale set is known to be a pool")
	}
	return ok("%d pools", len(r.Pools))
}

// pools looks for pools that do not grow.
func pools(r cli.Report) Finding {
	if len(r.Pools) == 0 {
		return Finding{Verdict: Unknown, Detail: "none is known", Fix: "see azure"}
	}
	var states []string
	for _, p := range r.Pools {
		switch {
		case p.State != "":
			states = append(states, p.Name+": "+p.State)
		case len(p.Offers) == 0:
			states = append(states, p.Name+": it is not known what its machines offer")
		case p.Max == 0:
			states = append(states, p.Name+": its maximum is 0")
		}
	}
	slices.Sort(states)
	if len(states) > 0 {
		return warning("docs/azure.md explains tags and refusals; a pool that never had a machine needs tags that say what one offers", "%s", strings.Join(states, "; "))
	}
	return ok("all of them can grow, up to their maximum")
}

func acting(r cli.Report) Finding {
	switch {
	case r.Paused:
		return warning("tidegate resume", "Tidegate is paused: it only says what it would do")
	case r.ObserveOnly:
		return warning("take --observe-only off tidegate run", "Tidegate only says what it would do")
	}
	return ok("nobody has told Tidegate to observe only")
}
