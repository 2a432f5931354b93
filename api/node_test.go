package api

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRetirementSurvivesARestart(t *testing.T) {
	at := func(minute int) metav1.Time {
		return metav1.Time{Time: time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC)}
	}
	for name, want := range map[string]Retirement{
		"marked": {Reason: "idle", Since: at(0)},
		"fenced": {Reason: "idle", Since: at(0), EmptySince: new(at(5)), FencedAt: new(at(9))},
	} {
		t.Run(name, func(t *testing.T) {
			node := &corev1.Node{}
			node.Annotations = map[string]string{RetiringAnnotation: want.Encode()}
			got := RetirementOf(node)
			if diff := cmp.Diff(&want, got, cmp.Comparer(func(a, b metav1.Time) bool { return a.Time.Equal(b.Time) })); diff != "" {
				t.Errorf("retirement (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMarks(t *testing.T) {
	for name, tc := range map[string]struct {
		annotations map[string]string
		wantMarked  bool
		want        *Retirement
	}{
		"no mark":                         {},
		"an unreadable value still marks": {annotations: map[string]string{RetiringAnnotation: "yes"}, wantMarked: true, want: &Retirement{Reason: "mark with an unreadable value"}},
		"an empty value too":              {annotations: map[string]string{RetiringAnnotation: ""}, wantMarked: true, want: &Retirement{Reason: "mark with an unreadable value"}},
	} {
		t.Run(name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: tc.annotations}}
			if got := Marked(node); got != tc.wantMarked {
				t.Errorf("marked %t, want %t", got, tc.wantMarked)
			}
			if diff := cmp.Diff(tc.want, RetirementOf(node)); diff != "" {
				t.Errorf("retirement (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeepReason(t *testing.T) {
	for name, tc := range map[string]struct {
		annotations, labels map[string]string
		want                string
	}{
		"nothing":                   {},
		"kept by hand":              {annotations: map[string]string{KeepAnnotation: "true"}, want: "annotation tidegate.io/keep"},
		"not kept":                  {annotations: map[string]string{KeepAnnotation: "false"}},
		"Cluster Autoscaler's veto": {annotations: map[string]string{ScaleDownDisabledAnnotation: "true"}, want: "annotation cluster-autoscaler.kubernetes.io/scale-down-disabled"},
		"Karpenter's veto":          {annotations: map[string]string{DoNotDisruptAnnotation: "true"}, want: "annotation karpenter.sh/do-not-disrupt"},
		"a server":                  {labels: map[string]string{"node-role.kubernetes.io/control-plane": "true"}, want: "label node-role.kubernetes.io/control-plane"},
		"an etcd member":            {labels: map[string]string{"node-role.kubernetes.io/etcd": ""}, want: "label node-role.kubernetes.io/etcd"},
	} {
		t.Run(name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: tc.annotations, Labels: tc.labels}}
			if got := KeepReason(node); got != tc.want {
				t.Errorf("kept by %q, want %q", got, tc.want)
			}
		})
	}
}

func TestFenceRefusalNamesTheNodeAndTheToken(t *testing.T) {
	if got, want := FenceRefusal("uid-1", "t0k3n"), "tidegate-fence: node uid=uid-1 is retired, token=t0k3n"; got != want {
		t.Errorf("refusal %q, want %q", got, want)
	}
}

func TestShortDuration(t *testing.T) {
	for name, tc := range map[string]struct {
		d    time.Duration
		want string
	}{
		"past":        {-time.Minute, "10 s"},
		"soon":        {3 * time.Second, "10 s"},
		"seconds":     {84 * time.Second, "80 s"},
		"minutes":     {7*time.Minute + 40*time.Second, "8 min"},
		"hours":       {150 * time.Minute, "3 h"},
		"below 2 min": {2*time.Minute - time.Second, "120 s"},
		"below 2 h":   {2*time.Hour - time.Second, "120 min"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ShortDuration(tc.d); got != tc.want {
				t.Errorf("%s is shown as %q, want %q", tc.d, got, tc.want)
			}
		})
	}
}
