package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity/manager"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// Result is what has become of a seed.
type Result struct {
	Seed uint64
	// Violations are the promises that were broken.
	Violations []string
	// Log has a line for each event, if it was asked for.
	Log string
	// MachineTime is how long machines ran, from purchase to deletion, weighted
	// with their cores. Peak is the most cores that there were at a time.
	MachineTime time.Duration
	Peak        int
}

const (
	// longest is when a seed is given up: by then all work has long been done.
	longest = 6 * time.Hour
	// longestOperation is how long a manager waits at most for what Azure makes of
	// a request.
	longestOperation = 31 * time.Minute
	// onItsWay is how long a machine waits that joins after it was given up: its
	// deletion may be on its way. Source: docs/azure-errors.md, "Machines that are no good".
	onItsWay = 15 * time.Minute
	// patience is how long a machine may stay beyond its idle time once nothing
	// is left to do: a step that failed waits for its turn, the fence settles,
	// and requests take their time.
	patience = 5 * time.Minute
)

// Run takes the course of a seed. It must be called in a synctest bubble.
func Run(seed uint64, faulty, log bool) (Result, error) {
	w, err := newWorld(seed, faulty, log)
	if err != nil {
		return Result{}, fmt.Errorf("seed %d: %w", seed, err)
	}
	w.submit()
	w.operate()
	w.lead()
	if faulty {
		w.disturb()
	}
	w.Loop.Run(w.begin.Add(trouble), func() bool { return false })
	w.Cluster.Delays = calm
	w.Cluster.Policy, w.Cluster.Budgets = cluster.Policy{}, false
	w.Cloud.ClearFaults()
	w.giveUp()
	w.allowAll()
	w.logf("nothing goes wrong from here on")
	w.await("work is done", longest, func() bool { return w.workLeft() == "" })
	w.await("all machines have joined or are gone", giveUp+patience, w.allJoined)
	settled := func() bool { return w.machinesLeft() == "" && w.residue() == "" && w.allJoined() }
	w.await("idle machines are gone", w.plan.longestIdle(w.slowestBoot)+patience, settled)
	if again := w.plan.longestIdle(w.slowestBoot) + w.slowestBoot + patience; !settled() && time.Since(w.restarted) < again {
		w.await("machines that were restarted meanwhile are idle and gone, too", again, settled)
	}
	if w.outdatedLeft() {
		w.await("machines of an earlier model are replaced", w.slowestBoot+manager.DefaultSettle+2*patience, settled)
	}
	if w.startingLeft() {
		w.await("machines that joined although they were given up serve or go", onItsWay+w.plan.longestIdle(w.slowestBoot)+patience, settled)
	}
	if w.repairsUsedUp() {
		w.await("pools with machines that did not join buy again", repairMemory, settled)
	}
	// What is settled has to stay so.
	w.Loop.Run(time.Now().Add(2*time.Minute), func() bool { return false })
	w.checkEnd()
	w.checkLateBinds()
	w.end()
	result := Result{Seed: seed, Violations: w.violations, Log: strings.Join(w.log, "\n")}
	result.MachineTime, result.Peak = w.cost()
	return result, nil
}

// await lets things happen until the condition holds, but for no longer than
// the time.
func (w *World) await(what string, longest time.Duration, holds func() bool) {
	ended, held := false, false
	w.Loop.Every(10*time.Second, func() bool {
		held = held || !ended && holds()
		return !ended && !held
	})
	w.Loop.Run(time.Now().Add(longest), func() bool { return held })
	ended = true
	w.logf("%s: %t", what, held)
}

// end lets all processes end.
func (w *World) end() {
	w.over = true
	all := append(w.processes, w.agents...)
	for _, p := range all {
		p.crash("the end")
	}
	w.Loop.End()
	for _, p := range all {
		<-p.ended
	}
	// What Azure was asked for is awaited by goroutines of their own.
	time.Sleep(longestOperation)
}
