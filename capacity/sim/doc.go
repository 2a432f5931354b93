// Package sim runs the capacity manager, the webhook and the extender as they
// are, with the real Azure client and the emulator's handlers, in one process
// and in virtual time. A seed decides the workload, the pools and all that goes
// wrong; equal seeds take the same course to the last event. See
// docs/simulation.md.
package sim
