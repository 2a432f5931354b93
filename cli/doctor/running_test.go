package doctor

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
)

func TestWorkloads(t *testing.T) {
	with := func(wants, has int32) []client.Object {
		return []client.Object{manifest(t, "DaemonSet", "tidegate", &appsv1.DaemonSet{}, func(d *appsv1.DaemonSet) {
			d.Status.DesiredNumberScheduled, d.Status.NumberReady = wants, has
		})}
	}
	agents := func(wants, has int32) []client.Object {
		return append(with(3, 3), manifest(t, "DaemonSet", "tidegate-agent", &appsv1.DaemonSet{}, func(d *appsv1.DaemonSet) {
			d.Status.DesiredNumberScheduled, d.Status.NumberReady = wants, has
		}))
	}
	for name, tc := range map[string]struct {
		objects     []client.Object
		want        Verdict
		detail, fix string
	}{
		"ready":          {with(3, 3), OK, "3 of 3 pods ready", ""},
		"one is not":     {with(3, 2), Failed, "2 of 3 pods ready", "events"},
		"no server":      {with(0, 0), Failed, "0 of 0 pods ready", "control-plane"},
		"pools at zero":  {agents(0, 0), OK, "tidegate-agent: 0 of 0 pods ready", ""},
		"a silent agent": {agents(2, 1), Warning, "tidegate-agent: 1 of 2 pods ready", "image"},
		"not installed":  {nil, Warning, "does not run in this cluster", "docs/install.md"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, workloads(t.Context(), patient(t, interceptor.Funcs{}, tc.objects...)), tc.want, tc.detail, tc.fix)
		})
	}
}

func TestLeader(t *testing.T) {
	for name, tc := range map[string]struct {
		leader cli.Leader
		want   Verdict
		detail string
	}{
		"leads":  {cli.Leader{Identity: "a", Renewed: noon, Alive: true}, OK, "a"},
		"led":    {cli.Leader{Identity: "a", Renewed: noon.Add(-5 * time.Minute)}, Failed, "last reported 5 min ago"},
		"nobody": {cli.Leader{}, Failed, "nobody leads"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, leader(cli.Report{Leader: tc.leader}, noon), tc.want, tc.detail, "") })
	}
}

func TestAzureAndPools(t *testing.T) {
	offers := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8")}
	pool := func(change func(*api.PoolStatus)) []cli.PoolReport {
		p := api.PoolStatus{Name: "agents", Max: 6, Offers: offers}
		change(&p)
		return []cli.PoolReport{{PoolStatus: p}}
	}
	for name, tc := range map[string]struct {
		report               cli.Report
		wantAzure, wantPools Verdict
		azureText, poolsText string
	}{
		"well":             {report: cli.Report{Pools: pool(func(*api.PoolStatus) {})}, wantAzure: OK, azureText: "1 pools", wantPools: OK},
		"no role":          {report: cli.Report{Problem: "the role is missing", Pools: pool(func(*api.PoolStatus) {})}, wantAzure: Failed, azureText: "the role is missing", wantPools: OK},
		"no pools":         {wantAzure: Failed, azureText: "no scale set", wantPools: Unknown},
		"a refusing pool":  {report: cli.Report{Pools: pool(func(p *api.PoolStatus) { p.State = "quota" })}, wantAzure: OK, wantPools: Warning, poolsText: "agents: quota"},
		"an unknown shape": {report: cli.Report{Pools: pool(func(p *api.PoolStatus) { p.Offers = nil })}, wantAzure: OK, wantPools: Warning, poolsText: "agents: it is not known"},
		"no room at all":   {report: cli.Report{Pools: pool(func(p *api.PoolStatus) { p.Max = 0 })}, wantAzure: OK, wantPools: Warning, poolsText: "agents: its maximum is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, azure(tc.report), tc.wantAzure, tc.azureText, "")
			expect(t, pools(tc.report), tc.wantPools, tc.poolsText, "")
		})
	}
}

func TestActing(t *testing.T) {
	expect(t, acting(cli.Report{}), OK, "", "")
	expect(t, acting(cli.Report{Paused: true, ObserveOnly: true}), Warning, "paused", "tidegate resume")
	expect(t, acting(cli.Report{ObserveOnly: true}), Warning, "only says", "--observe-only")
}
