package sim

import (
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// longestEpisode is how long what an episode breaks stays broken.
const longestEpisode = 5 * time.Minute

// lead keeps one process leading, and lets the faults end some and start others
// too early.
func (w *World) lead() {
	w.start()
	w.Loop.Every(5*time.Second, func() bool {
		if len(w.alive()) == 0 && !w.starting {
			w.starting = true
			// An abandoned lease is taken over when it has run out.
			w.Loop.In(time.Duration(w.chance.Int64N(int64(20*time.Second))), func() {
				w.starting = false
				w.start()
			})
		}
		return !w.over
	})
}

// disturb lets the episodes of the seed's faults come.
func (w *World) disturb() {
	f := &w.faults
	w.sometimes(f.restarts, func(time.Duration) {
		for _, p := range w.alive() {
			p.crash("at any time")
		}
	})
	w.sometimes(f.overlaps, func(d time.Duration) {
		for _, p := range w.alive() {
			w.Loop.In(d, func() { p.crash("another one leads") })
		}
		w.start()
	})
	w.sometimes(f.removals, w.removePolicy)
	w.sometimes(f.resyncs, func(d time.Duration) {
		w.Cluster.Policy.Unsynced = true
		w.Loop.In(d/20, func() { w.Cluster.Policy.Unsynced = false })
	})
	w.sometimes(f.absences, func(d time.Duration) {
		w.front.away = true
		w.Loop.In(d, func() { w.front.away = false })
	})
	w.sometimes(f.interruptions, w.interrupt)
	w.sometimes(f.budgets, func(d time.Duration) {
		w.Cluster.Budgets = true
		w.Loop.In(d, func() { w.Cluster.Budgets = false })
	})
	w.sometimes(f.hands, w.resize)
	w.sometimes(f.models, w.changeModel)
	w.sometimes(f.azure, func(d time.Duration) { w.Cloud.AddFaults(w.azureFault(d)) })
}

// sometimes lets something happen so often, at any time, for some time.
func (w *World) sometimes(n int, happen func(time.Duration)) {
	for range n {
		d := time.Duration(w.chance.Int64N(int64(longestEpisode)))
		w.Loop.In(time.Duration(w.chance.Int64N(int64(trouble-d))), func() { happen(d) })
	}
}

// removePolicy takes the fence's policy away for a while; another one may refuse
// trials meanwhile. It waits for a moment at which the manager is not on the way
// from the last proof to the deletion: who removes the policy right then can
// have a pod bound to a machine that goes.
func (w *World) removePolicy(d time.Duration) {
	foreign := w.chance.IntN(2) == 0
	w.Loop.Every(time.Second, func() bool {
		if d -= time.Second; d <= 0 {
			return false
		}
		if time.Since(w.proved) < commitTime || w.committed() {
			return true
		}
		w.logf("the fence's policy is removed")
		w.Cluster.Policy.Missing, w.Cluster.Policy.Foreign = true, foreign
		w.Loop.In(d, func() {
			w.logf("the fence's policy is back")
			w.Cluster.Policy.Missing, w.Cluster.Policy.Foreign = false, false
		})
		return false
	})
}

// commitTime is how long a commitment may be on its way after its proof.
const commitTime = 45 * time.Second

// committed reports whether a machine is about to be deleted or restarted.
func (w *World) committed() bool {
	for _, node := range cluster.All[*corev1.Node](w.Cluster.Store) {
		if node.Annotations[api.DeletingAnnotation] != "" || node.Annotations[api.RestartingAnnotation] != "" {
			return true
		}
	}
	return false
}

// azureFault draws what Azure refuses next.
func (w *World) azureFault(d time.Duration) emulator.Fault {
	const (
		write  = "Microsoft.Compute/virtualMachineScaleSets/write"
		remove = "Microsoft.Compute/virtualMachineScaleSets/delete/action"
		start  = "Microsoft.Compute/virtualMachineScaleSets/start/action"
		stop   = "Microsoft.Compute/virtualMachineScaleSets/deallocate/action"
	)
	conflict := emulator.Error{Status: http.StatusConflict, Code: "Conflict", Message: "Another operation is in progress."}
	f := emulator.Fault{Count: 1 + w.chance.IntN(3)}
	switch w.chance.IntN(8) {
	case 0:
		f.Operation, f.Effect.Error = write, &emulator.Error{Status: http.StatusConflict, Code: "AllocationFailed", Message: "Allocation failed."}
	case 1:
		f.Operation, f.Effect.Late = write, emulator.LateAllocationFailure(d)
	case 2:
		f.Operation, f.Effect.Error = write, &emulator.Error{Status: http.StatusTooManyRequests, Code: "OperationNotAllowed", Message: "Too many requests.", RetryAfterSeconds: 1 + int(d.Seconds())}
	case 3:
		f.Operation, f.Effect.Error = remove, &conflict
	case 4:
		f.Operation, f.Effect.Late = remove, &emulator.LateFailure{After: metav1.Duration{Duration: d / 4}, Error: conflict}
	case 5:
		f.Operation, f.Effect.Error = start, &conflict
	case 6:
		f.Operation, f.Effect.Late = stop, &emulator.LateFailure{After: metav1.Duration{Duration: d / 4}, Error: conflict}
	default:
		f.Operation, f.Effect.Delay = emulator.BootOperation, metav1.Duration{Duration: d}
	}
	return f
}

// alive returns the processes that lead or believe so.
func (w *World) alive() []*process {
	var alive []*process
	for _, p := range w.processes {
		if !p.dead.Load() {
			alive = append(alive, p)
		}
	}
	return alive
}
