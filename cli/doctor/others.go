package doctor

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
)

// nodeArgs is where a k3s server says with which arguments it runs, those of
// its configuration files included. Source: k3s, pull request 3290.
const nodeArgs = "k3s.io/node-args"

// scheduler asks whether every k3s server's scheduler has a configuration file:
// what is in it only the server can see.
func scheduler(nodes []corev1.Node) Finding {
	var without []string
	with := 0
	for i := range nodes {
		n := &nodes[i]
		text, told := n.Annotations[nodeArgs]
		if !api.IsServer(n) || !told {
			continue
		}
		if configured(text) {
			with++
		} else {
			without = append(without, n.Name)
		}
	}
	slices.Sort(without)
	switch {
	case len(without) > 0:
		return failed("on each of them: tidegate k3s install, then the restart that it prints", "the scheduler of these servers does not ask Tidegate, so that marked nodes get new pods: %s", strings.Join(without, ", "))
	case with == 0:
		return Finding{Verdict: Unknown, Detail: "no node says that it is a k3s server", Fix: "see that the scheduler's configuration has Tidegate as an extender"}
	}
	return ok("%d servers start theirs with a configuration; tidegate k3s check, on the server, looks into it, and whether pods can use the server's identity", with)
}

// configured reports whether the arguments give the scheduler a configuration.
func configured(nodeArgs string) bool {
	var args []string
	if err := json.Unmarshal([]byte(nodeArgs), &args); err != nil {
		return false
	}
	for i, arg := range args {
		value, joined := strings.CutPrefix(arg, "--kube-scheduler-arg=")
		if !joined && arg == "--kube-scheduler-arg" && i+1 < len(args) {
			value = args[i+1]
		}
		if strings.HasPrefix(value, "config=") {
			return true
		}
	}
	return false
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
