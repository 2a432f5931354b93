package path

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/api"
)

// kubectl apply prints at once what is wrong with a Job, and creates it.
func TestWarnings(t *testing.T) {
	w := newWorld(t, "warn")
	t.Parallel()
	tidegate(t)
	w.agents() // of a machine's CPU they take a part
	const manifest = `
apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: %s}
spec:
  template:
    metadata:
      annotations: {%s}
    spec:
      restartPolicy: Never
      containers: [{name: work, image: work, resources: {requests: {%s}}}]
`
	for name, test := range map[string]struct{ annotations, requests, warning string }{
		"broken-annotation": {`tidegate.io/gate: "true", tidegate.io/expected-duration: "soon"`, `cpu: "1"`, "tidegate.io/expected-duration"},
		"broken-gate":       {`tidegate.io/gate: "yes please"`, `cpu: 100m`, "tidegate.io/gate"},
		"too-large":         {`tidegate.io/gate: "true", tidegate.io/pool: warn`, `cpu: "96"`, "requests 96 cpu; the largest machine of pool warn offers 7.995"},
		"no-such-resource":  {`tidegate.io/gate: "true", tidegate.io/pool: warn`, `nvidia.com/gpu: "1"`, "requests 1 nvidia.com/gpu; no machine of pool warn offers any"},
		"no-such-pool":      {`tidegate.io/gate: "true", tidegate.io/pool: nowhere`, `cpu: "1"`, `tidegate.io/pool="nowhere": no such pool`},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, Rig: w.Rig, pool: w.pool, namespace: w.namespace}
			file := filepath.Join(t.TempDir(), "job.yaml")
			text := fmt.Sprintf(manifest, name, w.namespace, test.annotations, test.requests)
			if strings.Contains(text, "nvidia") {
				text = strings.Replace(text, "requests:", `limits: {nvidia.com/gpu: "1"}, requests:`, 1)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			w.eventually("kubectl warns", func() error { // once it is published what machines offer
				out, err := w.Cluster.Kubectl(t.Context(), "apply", "--dry-run=server", "-f", file)
				if err != nil {
					return err
				}
				if !strings.Contains(out, "Warning: ") || !strings.Contains(out, test.warning) || !strings.Contains(out, "job.batch/"+name+" created") {
					return errors.New(out)
				}
				return nil
			})
		})
	}
}

// A pod that waits for something that does not come says for what.
func TestReasons(t *testing.T) {
	w := newWorld(t, "full")
	t.Parallel()
	tidegate(t)
	w.agents() // of a machine's CPU they take a part
	gpu := w.pod("gpu", "1", 0)
	one := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
	gpu.Spec.Containers[0].Resources.Limits = one
	w.submit(gpu)
	w.waits("gpu", "NoPoolFits", "no pool offers nvidia.com/gpu")
	w.event(w.namespace, "gpu", "NoPoolFits", "no pool offers nvidia.com/gpu")

	w.submit(w.pod("large", "96", 0))
	w.waits("large", "NoPoolFits", "requests 96 cpu; the largest machine of any pool offers 7.995 cpu")

	nowhere := w.pod("nowhere", "1", 0)
	nowhere.Annotations[api.PoolAnnotation] = "nowhere"
	w.submit(nowhere)
	w.waits("nowhere", "NoPoolFits", `there is no pool named "nowhere"`)

	w.submit(w.pod("first", "5", 5*time.Second))
	w.phase("first", corev1.PodRunning)
	w.submit(w.pod("second", "5", time.Second))
	w.waits("second", "PoolAtMaximum", "full is at its maximum of 1")
	w.phase("second", corev1.PodSucceeded) // when the first has ended
	w.atRest(1)
}
