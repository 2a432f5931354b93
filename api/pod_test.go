package api

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestParsePodRequest(t *testing.T) {
	for name, tc := range map[string]struct {
		annotations map[string]string
		want        PodRequest
		wantErr     string
	}{
		"nothing said": {},
		"everything said": {
			annotations: map[string]string{
				GateKey: "true", PoolAnnotation: "big", GangAnnotation: "g", GangSizeAnnotation: "8",
				AllOrNothingAnnotation: "true", ExpectedDurationAnnotation: "90s", MaxWaitAnnotation: "2h",
			},
			want: PodRequest{
				OptIn: new(true), Pool: "big", Gang: "g", GangSize: 8,
				AllOrNothing: true, ExpectedDuration: 90 * time.Second, MaxWait: 2 * time.Hour,
			},
		},
		"opted out": {annotations: map[string]string{GateKey: "false"}, want: PodRequest{OptIn: new(false)}},
		"unclear opt-in is not said": {
			annotations: map[string]string{GateKey: "True", PoolAnnotation: "big"},
			want:        PodRequest{Pool: "big"},
			wantErr:     `annotation tidegate.io/gate="True": want "true" or "false", the value is ignored`,
		},
		"gang without size": {
			annotations: map[string]string{GangAnnotation: "g"},
			wantErr:     "annotation tidegate.io/gang is set without tidegate.io/gang-size: say how many pods the gang has, the pod is treated as a single pod",
		},
		"size without gang": {
			annotations: map[string]string{GangSizeAnnotation: "3"},
			wantErr:     "annotation tidegate.io/gang-size is set without tidegate.io/gang: name the gang, the pod is treated as a single pod",
		},
		"size beyond a cluster": {
			annotations: map[string]string{GangAnnotation: "g", GangSizeAnnotation: "150001"},
			wantErr:     `annotation tidegate.io/gang-size="150001": want an integer from 1 to 150000, the pod is treated as a single pod`,
		},
		"one sentence for each bad value": {
			annotations: map[string]string{GateKey: "true", ExpectedDurationAnnotation: "0s", MaxWaitAnnotation: "soon"},
			want:        PodRequest{OptIn: new(true)},
			wantErr: `annotation tidegate.io/expected-duration="0s": want a positive duration such as "90s" or "2h30m", the value is ignored` + "\n" +
				`annotation tidegate.io/max-wait="soon": want a positive duration such as "90s" or "2h30m", the value is ignored`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParsePodRequest(tc.annotations)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.wantErr, message(err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGates(t *testing.T) {
	for name, tc := range map[string]struct {
		gates             []string
		wantHas, wantOnly bool
	}{
		"none":      {},
		"ours":      {gates: []string{CapacityGate}, wantHas: true, wantOnly: true},
		"another's": {gates: []string{"kueue.x-k8s.io/admission"}},
		"both":      {gates: []string{"kueue.x-k8s.io/admission", CapacityGate}, wantHas: true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{}
			for _, gate := range tc.gates {
				pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: gate})
			}
			if has, only := HasCapacityGate(pod), OnlyCapacityGate(pod); has != tc.wantHas || only != tc.wantOnly {
				t.Errorf("has the gate %t, no other %t; want %t, %t", has, only, tc.wantHas, tc.wantOnly)
			}
		})
	}
}

func TestOwners(t *testing.T) {
	for name, tc := range map[string]struct {
		owner               metav1.OwnerReference
		wantJob, wantDaemon bool
	}{
		"nobody":                         {},
		"a Job":                          {owner: metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Controller: new(true)}, wantJob: true},
		"a DaemonSet":                    {owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "DaemonSet", Controller: new(true)}, wantDaemon: true},
		"another group's Job":            {owner: metav1.OwnerReference{APIVersion: "batch.volcano.sh/v1alpha1", Kind: "Job", Controller: new(true)}},
		"another group's DaemonSet":      {owner: metav1.OwnerReference{APIVersion: "apps.kruise.io/v1alpha1", Kind: "DaemonSet", Controller: new(true)}},
		"a Job that does not control it": {owner: metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{}
			if tc.owner.Kind != "" {
				pod.OwnerReferences = []metav1.OwnerReference{tc.owner}
			}
			if job, daemon := OwnedByJob(pod), OwnedByDaemonSet(pod); job != tc.wantJob || daemon != tc.wantDaemon {
				t.Errorf("a Job's %t, a DaemonSet's %t; want %t, %t", job, daemon, tc.wantJob, tc.wantDaemon)
			}
		})
	}
}

// FuzzParsePodRequest holds the parser to its promise: whatever the values,
// the request is usable.
func FuzzParsePodRequest(f *testing.F) {
	f.Add("true", "g", "3", "true", "1h", "5m")
	f.Add("TRUE", "", "-1", "no", "-1h", "5")
	f.Add("", "g", "99999999999999999999", "", "1e9h", "9999999h")
	f.Fuzz(func(t *testing.T, gate, gang, size, all, duration, wait string) {
		r, err := ParsePodRequest(map[string]string{
			GateKey: gate, GangAnnotation: gang, GangSizeAnnotation: size,
			AllOrNothingAnnotation: all, ExpectedDurationAnnotation: duration, MaxWaitAnnotation: wait,
		})
		if r.ExpectedDuration < 0 || r.MaxWait < 0 {
			t.Errorf("negative durations in %+v", r)
		}
		if (r.Gang == "") != (r.GangSize == 0) || r.GangSize < 0 || r.GangSize > maxGangSize {
			t.Errorf("half a gang in %+v", r)
		}
		if err == nil && r.OptIn == nil {
			t.Errorf("opt-in %q was neither read nor reported", gate)
		}
	})
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
