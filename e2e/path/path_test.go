package path

import (
	"context"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

const job = `
apiVersion: batch/v1
kind: Job
metadata: {name: frames, namespace: default}
spec:
  parallelism: 6
  completions: 6
  template:
    metadata:
      annotations: {tidegate.io/gate: "true", e2e.tidegate.io/run-for: "4s"}
    spec:
      restartPolicy: Never
      containers: [{name: c, image: i, resources: {requests: {cpu: "3"}}}]
`

func TestSmoke(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := rig.Start(ctx, rig.Options{Settle: 2 * time.Second, Azure: emulator.Config{ScaleSets: []emulator.ScaleSet{{
		Name: "agents", BootTime: emulator.Between(3*time.Second, 5*time.Second),
		Tags: map[string]string{"tidegate": "enabled", "tidegate-min": "0", "tidegate-max": "6", "tidegate-idle-after": "5s",
			"k8s.io_cluster-autoscaler_node-template_resources_cpu": "8", "k8s.io_cluster-autoscaler_node-template_resources_memory": "32Gi"},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	p, err := r.StartTidegate(rig.ProcessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { t.Log(p.Log()); os.Stdout.Sync() }()
	if err := p.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	out, err := r.Cluster.Apply(ctx, job)
	t.Log(out, err)
	for range 45 {
		time.Sleep(time.Second)
		out, _ := r.Cluster.Kubectl(ctx, "get", "pods,nodes", "-o", "wide", "--no-headers")
		t.Log(out)
		j, err := r.Client.BatchV1().Jobs("default").Get(ctx, "frames", metav1.GetOptions{})
		if err == nil && j.Status.Succeeded == 6 {
			nodes, _ := r.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
			if len(nodes.Items) == 1 {
				return
			}
		}
	}
	out, _ = r.Cluster.Kubectl(ctx, "describe", "jobs,pods")
	t.Fatal(out)
}
