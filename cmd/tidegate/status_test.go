package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
	"github.com/tidegate-k3s/tidegate/cli/layout"
)

// setLeader lets somebody hold the leader's lease, renewed just now.
func setLeader(t *testing.T, client kubernetes.Interface, identity string) {
	t.Helper()
	leases := client.CoordinationV1().Leases(api.Namespace)
	_ = leases.Delete(t.Context(), api.LeaseName, metav1.DeleteOptions{}) // there may be none
	now := metav1.NowMicro()
	_, err := leases.Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: api.LeaseName},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &identity, RenewTime: &now, LeaseDurationSeconds: new(int32(15))},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// Following the status, a terminal shows each look in the place of the last
// one; elsewhere only what has changed is written.
func TestStatusWatch(t *testing.T) {
	for name, tc := range map[string]struct {
		format string
		style  layout.Style
		want   []string // what begins each of: first look, renewed lease, new leader
	}{
		"to a file":     {want: []string{"Leader: a", "", "---\nLeader: b"}},
		"as JSON":       {format: "json", want: []string{"{", "", "{"}},
		"as YAML":       {format: "yaml", want: []string{"leader:\n  alive: true\n  identity: a", "", "---\nleader:\n  alive: true\n  identity: b"}},
		"on a terminal": {style: layout.Style{Colour: true}, want: []string{clearScreen + "Leader: a", clearScreen + "Leader: a", clearScreen + "Leader: b"}},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			s := statusCommand{output: output{format: tc.format}, watch: true}
			var last *cli.Report
			var got []string
			for i, leader := range []string{"a", "a", "b"} {
				setLeader(t, client, leader)
				var out strings.Builder
				var err error
				if last, err = s.show(t.Context(), client, &out, tc.style, last); err != nil {
					t.Fatal(err)
				}
				got = append(got, out.String()[:min(len(tc.want[i]), out.Len())])
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
		})
	}
}

// Interrupted, following ends without an error.
func TestStatusWatchEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out strings.Builder
	s := statusCommand{watch: true}
	if err := s.follow(ctx, fake.NewClientset(), &out, layout.Style{}); err != nil || !strings.Contains(out.String(), "No Tidegate leads") {
		t.Errorf("error %v after\n%s", err, out.String())
	}
}
