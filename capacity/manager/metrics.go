package manager

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the capacity manager's Prometheus metrics.
type metrics struct {
	gated        prometheus.Gauge
	released     prometheus.Counter
	bought       *prometheus.CounterVec
	retired      *prometheus.CounterVec
	lost         *prometheus.CounterVec
	lowered      *prometheus.CounterVec
	repaired     *prometheus.CounterVec
	poolBroken   *prometheus.GaugeVec
	restarted    *prometheus.CounterVec
	rescues      prometheus.Counter
	lateBinds    prometheus.Counter
	writes       *prometheus.CounterVec
	planSeconds  prometheus.Histogram
	proofSeconds prometheus.Histogram
	poolMachines *prometheus.GaugeVec
	poolAway     *prometheus.GaugeVec
	cloudUp      prometheus.Gauge
	observeOnly  prometheus.Gauge
	unproved     prometheus.Counter
	interrupted  prometheus.Counter
	approved     prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		gated: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tidegate_gated_pods", Help: "Pods that wait at the gate."}),
		released: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidegate_released_pods_total", Help: "Pods that were let through the gate."}),
		bought: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidegate_bought_machines_total", Help: "Machines that the cloud was asked for and accepted."}, []string{"pool"}),
		retired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidegate_retired_machines_total", Help: "Machines whose deletion the cloud has confirmed and whose node is gone."}, []string{"pool"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidegate_lost_machines_total", Help: "Machines that went without Tidegate deleting them, and whose node is gone."}, []string{"pool"}),
		lowered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidegate_capacity_drops_total", Help: "Drops of a pool's capacity that Tidegate did not ask for."}, []string{"pool"}),
		repaired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidegate_repaired_machines_total", Help: "Machines that were given up because they did not become ready nodes, or fell silent with nothing on them."}, []string{"pool"}),
		poolBroken: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tidegate_pool_broken_machines", Help: "Machines that were bought, should be nodes by now, and are none."}, []string{"pool"}),
		restarted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidegate_restarted_machines_total", Help: "Machines that were restarted or reimaged because an operator asked for it."}, []string{"pool"}),
		rescues: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidegate_rescues_total", Help: "Marks and fences that were taken back because waiting pods need the node."}),
		lateBinds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidegate_late_binds_total", Help: "Pods that landed on a node after its deletion was committed. The target is zero."}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidegate_writes_total", Help: "Writes to Kubernetes and to the cloud, by kind and result (ok, conflict, error)."}, []string{"kind", "result"}),
		planSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tidegate_plan_duration_seconds", Help: "Time to observe the cluster and plan.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		proofSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tidegate_fence_proof_duration_seconds", Help: "Time from the first attempt to prove a fence to its proof by every API server.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		poolMachines: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tidegate_pool_machines", Help: "Machines that the pool was asked for."}, []string{"pool"}),
		poolAway: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tidegate_pool_refused", Help: "1 while the pool is not asked for machines because it refused, or because its machines do not join."}, []string{"pool"}),
		cloudUp: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tidegate_cloud_up", Help: "1 if the pools could be read the last time."}),
		observeOnly: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tidegate_observe_only", Help: "1 while nothing is acted on, by flag or because an operator paused."}),
		unproved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidegate_unproved_fences_total", Help: "Fences that were taken back because the API server did not prove that it enforces them."}),
		interrupted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidegate_interrupted_pods_total", Help: "Pods that were evicted because the cloud is about to take or to restart their machine."}),
		approved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidegate_approved_interruptions_total", Help: "Interruptions that were let happen before their time because their machines were empty."}),
	}
	registry.MustRegister(m.gated, m.released, m.bought, m.retired, m.lost, m.lowered, m.restarted, m.repaired, m.poolBroken, m.rescues, m.lateBinds, m.writes,
		m.planSeconds, m.proofSeconds, m.poolMachines, m.poolAway, m.cloudUp, m.observeOnly, m.unproved, m.interrupted, m.approved)
	return m
}
