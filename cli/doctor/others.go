package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
	"github.com/tidegate-k3s/tidegate/k3s"
)

// nodeArgs is where a k3s server says with which arguments it runs, those of
// its configuration files included. Source: k3s, pull request 3290.
const nodeArgs = "k3s.io/node-args"

// scheduler asks whether every k3s server's scheduler has Tidegate's
// configuration file: what is in it only the server can see.
func scheduler(ctx context.Context, p Patient) Finding {
	var without, broken, other []string
	with := 0
	for i := range p.Cluster.Nodes {
		n := &p.Cluster.Nodes[i]
		text, told := n.Annotations[nodeArgs]
		if !api.IsServer(n) || !told {
			continue
		}
		files := schedulerConfigs(text)
		switch {
		case len(files) == 0:
			without = append(without, n.Name)
		case n.Name == p.Machine.Name && p.Machine.SchedulerFaults != nil:
			with++
			broken = p.Machine.SchedulerFaults(extenderAuthority(ctx, p))
		case slices.Equal(files, []string{"/" + k3s.SchedulerConfig}):
			with++
		default:
			other = append(other, n.Name+" ("+strings.Join(files, ", ")+")")
		}
	}
	slices.Sort(without)
	slices.Sort(other)
	switch {
	case len(without) > 0:
		return failed("on each of them: tidegate k3s install, then the restart that it prints", "the scheduler of these servers does not ask Tidegate, so that marked nodes get new pods: %s", strings.Join(without, ", "))
	case len(broken) > 0:
		return failed("mend that before k3s is restarted; tidegate k3s check says whether it is", "this server's files: %s", strings.Join(broken, "; "))
	case len(other) > 0:
		return warning("on each of them, as root: tidegate k3s check says whether Tidegate is among the extenders of that file", "the scheduler of these servers has another configuration than Tidegate's: %s", strings.Join(other, "; "))
	case with == 0:
		return Finding{Verdict: Unknown, Detail: "no node says that it is a k3s server", Fix: "see that the scheduler's configuration has Tidegate as an extender"}
	}
	return ok("%d servers start theirs with the configuration; tidegate k3s check, on the server, looks into it", with)
}

// extenderAuthority is the authority of the extender's certificate, in PEM; nil
// if it cannot be read: the check of the certificates tells of one that is
// missing.
func extenderAuthority(ctx context.Context, p Patient) []byte {
	var secret corev1.Secret
	if err := p.Client.Get(ctx, client.ObjectKey{Namespace: api.ServerNamespace, Name: api.ExtenderCASecret}, &secret); err != nil {
		return nil
	}
	return secret.Data[corev1.TLSCertKey]
}

// schedulerConfigs are the configurations that the arguments give the scheduler.
func schedulerConfigs(nodeArgs string) (files []string) {
	var args []string
	if err := json.Unmarshal([]byte(nodeArgs), &args); err != nil {
		return nil
	}
	for i, arg := range args {
		value, given := strings.CutPrefix(arg, "--kube-scheduler-arg=")
		if arg == "--kube-scheduler-arg" && i+1 < len(args) {
			value, given = args[i+1], true
		}
		if file, found := strings.CutPrefix(strings.TrimLeft(value, "-"), "config="); given && found {
			files = append(files, file)
		}
	}
	return files
}

// imds asks whether the servers keep their pods from Azure's metadata service.
// Each of them knows that of itself alone.
func imds(ctx context.Context, p Patient) Finding {
	const fix = "on each of them, as root: tidegate k3s check"
	var others []string
	here := false
	for i := range p.Cluster.Nodes {
		switch n := &p.Cluster.Nodes[i]; {
		case !api.IsServer(n):
		case n.Name == p.Machine.Name:
			here = true
		default:
			others = append(others, n.Name)
		}
	}
	slices.Sort(others)
	if here {
		switch guarded, err := p.Machine.MetadataGuarded(ctx); {
		case err != nil:
			return Finding{Verdict: Unknown, Detail: fmt.Sprintf("whether pods on this server can use its identity was not judged: %v", err), Fix: "as root: tidegate k3s check"}
		case !guarded:
			return failed("add the unit that docs/install.md has", "pods on this server can use its identity: iptables has no rule that keeps them from the metadata service")
		}
	}
	switch {
	case len(others) > 0:
		return Finding{Verdict: Unknown, Detail: "only the servers themselves see whether their pods can use their identity: " + strings.Join(others, ", "), Fix: fix}
	case !here:
		return Finding{Verdict: Unknown, Detail: "no node is a server, so that it is not known where the identity is", Fix: "keep pods from 169.254.169.254 where Tidegate runs"}
	}
	return ok("this server, the only one, keeps its pods from its identity")
}

// groupName finds the node groups in what Cluster Autoscaler publishes, in its
// old and in its new format.
var groupName = regexp.MustCompile(`(?im)^\s*-?\s*name:\s*"?([^"\s]+)"?\s*$`)

// autoscalers asks whether Cluster Autoscaler manages one of the pools too: the
// two would take each other's machines away.
func autoscalers(ctx context.Context, p Patient, r cli.Report) Finding {
	var published corev1.ConfigMap
	err := p.Client.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: "cluster-autoscaler-status"}, &published)
	if apierrors.IsNotFound(err) {
		return ok("no other one publishes its status here")
	}
	if err != nil {
		return unread("ConfigMap kube-system/cluster-autoscaler-status", err)
	}
	var shared []string
	for _, match := range groupName.FindAllStringSubmatch(published.Data["status"], -1) {
		if slices.ContainsFunc(r.Pools, func(pool cli.PoolReport) bool { return strings.EqualFold(pool.Name, match[1]) }) {
			shared = append(shared, match[1])
		}
	}
	if len(shared) > 0 {
		return failed("leave each scale set to one of them: tag it tidegate: disabled, or take it from Cluster Autoscaler", "Cluster Autoscaler manages these pools too: %s", strings.Join(shared, ", "))
	}
	return ok("Cluster Autoscaler manages other scale sets")
}
