package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// metric is one of Tidegate's metrics as it is registered.
type metric struct {
	name, help string
	kind       dto.MetricType
	labels     []string
}

// registry records what is registered. A real one shows a metric with labels
// only once it has a value.
type registry struct {
	t     *testing.T
	found []metric
}

// description is how client_golang prints what a collector will collect.
var description = regexp.MustCompile(`^Desc{fqName: "([^"]*)", help: "([^"]*)", unit: "[^"]*", constLabels: {}, variableLabels: {([^}]*)}}$`)

func (r *registry) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 10)
	c.Describe(descs)
	close(descs)
	for desc := range descs {
		match := description.FindStringSubmatch(desc.String())
		if match == nil {
			r.t.Fatalf("cannot read %s", desc)
		}
		m := metric{name: match[1], help: match[2], kind: r.kindOf(c)}
		if match[3] != "" {
			m.labels = strings.Split(match[3], ",")
		}
		r.found = append(r.found, m)
	}
	return nil
}

func (r *registry) kindOf(c prometheus.Collector) dto.MetricType {
	switch c.(type) {
	case prometheus.Gauge, *prometheus.GaugeVec: // a gauge can do what a counter can
		return dto.MetricType_GAUGE
	case prometheus.Counter, *prometheus.CounterVec:
		return dto.MetricType_COUNTER
	case prometheus.Histogram, *prometheus.HistogramVec:
		return dto.MetricType_HISTOGRAM
	}
	r.t.Fatalf("a collector is a %T", c)
	return dto.MetricType_UNTYPED
}

func (r *registry) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		_ = r.Register(c)
	}
}

func (r *registry) Unregister(prometheus.Collector) bool { return false }

// registered are the metrics of tidegate run, by name.
func registered(t *testing.T) []metric {
	t.Helper()
	config := &rest.Config{Host: "https://127.0.0.1:1"} // is not asked anything
	o := runOptions{}
	o.azure.IMDSEndpoint = "http://127.0.0.1:1"
	mgr, err := ctrl.NewManager(config, ctrl.Options{Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	r := &registry{t: t}
	if err := addCapacity(mgr, config, o, r, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(r.found, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return r.found
}

// docs/metrics.md lists exactly what is registered.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(tidegate_[^`]*)` \\| (\\w+) \\| [^|]+ \\|$").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, row[1]+" "+row[2])
	}
	var want []string
	for _, m := range registered(t) {
		line := m.name
		if len(m.labels) > 0 {
			line += "{" + strings.Join(m.labels, ",") + "}"
		}
		want = append(want, line+" "+strings.ToLower(m.kind.String()))
	}
	slices.Sort(want)
	slices.Sort(documented)
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("the page (-registered +documented):\n%s", diff)
	}
}

// Base units, _total on counters and on nothing else, a help text: what
// Prometheus' own linter asks for.
func TestMetricNames(t *testing.T) {
	var families []*dto.MetricFamily
	for _, m := range registered(t) {
		if !strings.HasPrefix(m.name, "tidegate_") {
			t.Errorf("%s does not begin with tidegate_", m.name)
		}
		families = append(families, &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: &m.kind})
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// series maps what a query may name to the labels that it has.
func series(t *testing.T) map[string][]string {
	t.Helper()
	names := map[string][]string{}
	for _, m := range registered(t) {
		if m.kind != dto.MetricType_HISTOGRAM {
			names[m.name] = m.labels
			continue
		}
		names[m.name+"_bucket"] = append(slices.Clone(m.labels), "le")
		names[m.name+"_sum"], names[m.name+"_count"] = m.labels, m.labels
	}
	if len(names) == 0 {
		t.Fatal("nothing is registered")
	}
	return names
}
