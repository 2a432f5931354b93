package manager

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
)

// TestObserveOnly: by flag or by annotation nothing is bought, released or
// marked; it is only said. Without either the same cluster gets a machine.
func TestObserveOnly(t *testing.T) {
	for name, tc := range map[string]struct {
		flag       bool
		annotation map[string]string
		wantCloud  []string
		wantGauge  float64
	}{
		"neither":                     {wantCloud: []string{"grow/agents"}},
		"by flag":                     {flag: true, wantGauge: 1},
		"by annotation":               {annotation: map[string]string{api.ObserveOnlyAnnotation: "true"}, wantGauge: 1},
		"by annotation, on doubt too": {annotation: map[string]string{api.ObserveOnlyAnnotation: ""}, wantGauge: 1},
		"taken back":                  {annotation: map[string]string{api.ObserveOnlyAnnotation: "false"}, wantCloud: []string{"grow/agents"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := gatedPod(func(p *corev1.Pod) { p.ResourceVersion, p.CreationTimestamp = "", metav1.Now() })
			published := statusMap(nil)
			published.Annotations = tc.annotation
			w, _ := observed(t, &scriptedCloud{pool: tagged()}, &pod, published)
			w.observeOnly = tc.flag
			w.step(t.Context())
			if diff := cmp.Diff(tc.wantCloud, keys(w.lanes.cloud)); diff != "" {
				t.Errorf("actions on the cloud (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"reason/uid", "status"}, keys(w.lanes.reasons)); diff != "" {
				t.Errorf("what is said (-want +got):\n%s", diff)
			}
			if got := testutil.ToFloat64(w.metrics.observeOnly); got != tc.wantGauge {
				t.Errorf("tidegate_observe_only is %v, want %v", got, tc.wantGauge)
			}
		})
	}
}
