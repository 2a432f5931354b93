package doctor

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestAskServer(t *testing.T) {
	for name, tc := range map[string]struct {
		status  int
		body    string
		date    string
		wantErr string
	}{
		"an API server":     {status: 200, body: `{"gitVersion":"v1.37.2+k3s1"}`, date: "Sun, 01 Mar 2026 12:00:00 GMT"},
		"a stranger":        {status: 200, body: `<html>`, date: "Sun, 01 Mar 2026 12:00:00 GMT", wantErr: "read the API server's version"},
		"no clock":          {status: 200, body: `{}`, date: "today", wantErr: "read the API server's clock"},
		"an old kubeconfig": {status: 401, body: `{}`, wantErr: "is the kubeconfig still good?"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/version" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.Header().Set("Date", tc.date)
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			}))
			defer server.Close()
			got, err := AskServer(t.Context(), &rest.Config{Host: server.URL})
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("error %v, want one that says %q", err, tc.wantErr)
				}
				return
			}
			if err != nil || got.Version != "v1.37.2+k3s1" || !got.Time.Equal(noon) {
				t.Errorf("server %+v, error %v", got, err)
			}
		})
	}
}

func TestKubernetesVersion(t *testing.T) {
	for name, tc := range map[string]struct {
		version     string
		want        Verdict
		detail, fix string
	}{
		"new":       {"v1.37.2", OK, "v1.37.2", ""},
		"the least": {"v1.30.0+k3s1", OK, "v1.30.0+k3s1", ""},
		"too old":   {"v1.29.9+k3s1", Failed, "no validating admission policies", "v1.30.0"},
		"a riddle":  {"latest", Unknown, `"latest"`, "v1.30.0"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, kubernetesVersion(tc.version), tc.want, tc.detail, tc.fix) })
	}
}

func TestClocks(t *testing.T) {
	for name, tc := range map[string]struct {
		here     time.Duration // this machine's clock against the API server's
		renewed  time.Duration // the node's last renewal by its clock
		notReady bool
		want     Verdict
		detail   string
	}{
		"together":                    {renewed: -3 * time.Second, want: OK, detail: "1 nodes"},
		"just before it renews":       {renewed: -44 * time.Second, want: OK},
		"a node ahead":                {renewed: 20 * time.Second, want: Failed, detail: "agents000001"},
		"a node behind":               {renewed: -3 * time.Minute, want: Failed, detail: "agents000001"},
		"a silent node tells nothing": {renewed: -3 * time.Minute, notReady: true, want: OK},
		"this machine ahead":          {here: time.Minute, want: Warning, detail: "1m0s off"},
		"this machine behind":         {here: -time.Minute, want: Warning, detail: "-1m0s off"},
	} {
		t.Run(name, func(t *testing.T) {
			renewed := metav1.NewMicroTime(noon.Add(tc.renewed))
			p := patient(t, interceptor.Funcs{}, &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: "agents000001"},
				Spec:       coordinationv1.LeaseSpec{RenewTime: &renewed},
			})
			p.Cluster.Now = noon.Add(tc.here)
			ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue}
			if tc.notReady {
				ready.Status = corev1.ConditionUnknown
			}
			p.Cluster.Nodes = []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "agents000001"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{ready}}}}
			expect(t, clocks(t.Context(), p), tc.want, tc.detail, "")
		})
	}
}
