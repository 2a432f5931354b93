package rig

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/manifests"
)

// InstallAgents applies the agents' DaemonSet, which install leaves out: from
// then on every machine of a pool carries one of its pods, in which nothing
// runs.
func (r *Rig) InstallAgents(ctx context.Context) error {
	text, err := manifests.FS.ReadFile("agent/daemonset.yaml")
	if err != nil {
		return err
	}
	if out, err := r.Cluster.Apply(ctx, string(text)); err != nil {
		return fmt.Errorf("apply the agents' DaemonSet: %w\n%s", err, out)
	}
	return nil
}

// AgentKubeconfig waits for the agent's pod on the node and returns a
// kubeconfig with its rights.
func (r *Rig) AgentKubeconfig(ctx context.Context, node string) (string, error) {
	var pod *corev1.Pod
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		list, err := r.Client.CoreV1().Pods(api.ServerNamespace).List(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
		})
		if err != nil || len(list.Items) == 0 {
			return false, err
		}
		pod = &list.Items[0]
		return pod.Status.Phase == corev1.PodRunning, nil
	})
	if err != nil {
		return "", fmt.Errorf("wait for the agent's pod on node %s: %w", node, err)
	}
	return r.Cluster.PodKubeconfig(ctx, pod)
}

// StartAgent starts tidegate agent in the place of its pod on the node of the
// machine with that VMID, with the kubeconfig of AgentKubeconfig.
func (r *Rig) StartAgent(node, vmID, kubeconfig string) (*Process, error) {
	return r.start([]string{"NODE_NAME=" + node}, []string{
		"agent", "--kubeconfig", kubeconfig, "--imds-endpoint", r.Azure.IMDSEndpoint() + emulator.IMDSPath(vmID),
	})
}
