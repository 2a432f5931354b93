package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/manifests"
)

// faults returns what is wrong with a query: it cannot be parsed, or names a
// metric or a label that Tidegate does not have.
func faults(query string, series map[string][]string) []string {
	expr, err := metricsql.Parse(strings.ReplaceAll(query, "$__rate_interval", "5m"))
	if err != nil {
		return []string{err.Error()}
	}
	var found, labels, known []string
	metricsql.VisitAll(expr, func(e metricsql.Expr) {
		switch e := e.(type) {
		case *metricsql.MetricExpr:
			for _, filters := range e.LabelFilterss {
				for _, f := range filters {
					if f.Label != "__name__" {
						labels = append(labels, f.Label)
						continue
					}
					has, ok := series[f.Value]
					if !ok {
						found = append(found, fmt.Sprintf("there is no metric %s", f.Value))
					}
					known = append(known, has...)
				}
			}
		case *metricsql.AggrFuncExpr:
			labels = append(labels, e.Modifier.Args...)
		}
	})
	for _, label := range labels {
		if !slices.Contains(known, label) {
			found = append(found, fmt.Sprintf("no metric in it has the label %s", label))
		}
	}
	return found
}

func TestFaultsAreFound(t *testing.T) {
	has := series(t)
	for name, tc := range map[string]struct {
		query string
		want  []string
	}{
		"none":             {`sum by (pool) (rate(tidegate_bought_machines_total[$__rate_interval])) > 0`, nil},
		"no such metric":   {`max(tidegate_nothing)`, []string{"there is no metric tidegate_nothing"}},
		"a bare histogram": {`tidegate_plan_duration_seconds`, []string{"there is no metric tidegate_plan_duration_seconds"}},
		"no such label":    {`sum by (node) (tidegate_pool_machines)`, []string{"no metric in it has the label node"}},
		"no such filter":   {`tidegate_writes_total{outcome="error"}`, []string{"no metric in it has the label outcome"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, faults(tc.query, has)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
	if got := faults(`sum(tidegate_gated_pods`, has); len(got) != 1 {
		t.Errorf("faults of a query that does not end: %v", got)
	}
}

func TestDashboardQueriesMetricsThatAreThere(t *testing.T) {
	text, err := manifests.FS.ReadFile("components/grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title  string `json:"title"`
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			GridPos struct {
				X, Y, W, H int
			} `json:"gridPos"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	has, queried := series(t), map[string]bool{}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 || p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q has an ID twice, no title, no query, or no place in the 24 columns", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			for _, fault := range faults(target.Expr, has) {
				t.Errorf("panel %q, query %s: %s", p.Title, target.Expr, fault)
			}
			for name := range has {
				queried[name] = queried[name] || strings.Contains(target.Expr, name)
			}
		}
	}
	for _, m := range registered(t) {
		if !queried[m.name] && !queried[m.name+"_bucket"] {
			t.Errorf("no panel shows %s", m.name)
		}
	}
}

// apiServer are metrics of the API server that alerts go by. Those of a real one
// rise when the webhook is down: a test in e2e/commands sees to that.
var apiServer = map[string][]string{
	"apiserver_admission_webhook_rejection_count": {"name", "type", "operation", "error_type", "rejection_code"},
	"apiserver_admission_webhook_fail_open_count": {"name", "type"},
}

// Each alert names metrics that are there, and has a section in the runbook
// that says what it means and what to do.
func TestAlertsHaveARunbook(t *testing.T) {
	text, err := manifests.FS.ReadFile("components/prometheus/prometheusrule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rule struct {
		Spec struct {
			Groups []struct {
				Rules []struct {
					Alert       string            `json:"alert"`
					Expr        string            `json:"expr"`
					Labels      map[string]string `json:"labels"`
					Annotations map[string]string `json:"annotations"`
				} `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &rule); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		sections[title] = body
	}
	has := series(t)
	maps.Copy(has, apiServer)
	var alerts, titles []string
	for _, group := range rule.Spec.Groups {
		for _, r := range group.Rules {
			alerts = append(alerts, r.Alert)
			for _, fault := range faults(r.Expr, has) {
				t.Errorf("%s: %s", r.Alert, fault)
			}
			anchor := "https://github.com/tidegate-k3s/tidegate/blob/main/docs/runbook.md#" + strings.ToLower(r.Alert)
			if got := r.Annotations["runbook_url"]; got != anchor {
				t.Errorf("%s has the runbook %q, want %q", r.Alert, got, anchor)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) {
				t.Errorf("%s lacks a summary, a description or a severity", r.Alert)
			}
			for _, part := range []string{"**Means.**", "**Do.**"} {
				if !strings.Contains(sections[r.Alert], part) {
					t.Errorf("the runbook's section %s lacks %s", r.Alert, part)
				}
			}
		}
	}
	for title := range sections {
		titles = append(titles, title)
	}
	slices.Sort(alerts)
	slices.Sort(titles)
	if diff := cmp.Diff(alerts, titles); diff != "" {
		t.Errorf("alerts and sections (-alerts +sections):\n%s", diff)
	}
	if len(alerts) != 5 {
		t.Errorf("%d alerts, want the five that take a human", len(alerts))
	}
	for _, name := range regexp.MustCompile(`(tidegate|apiserver)_[a-z_]+`).FindAllString(string(page), -1) {
		if _, ok := has[name]; !ok {
			t.Errorf("the runbook speaks of %s, which is no metric", name)
		}
	}
}
