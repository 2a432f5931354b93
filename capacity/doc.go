// Package capacity decides: which pods to release, which machines to buy,
// which nodes to mark, to rescue and to retire. It is pure: Plan takes a
// Snapshot and returns a Decision, without clock, client, log or randomness.
// Package capacity/manager takes the snapshots and carries the decisions out.
package capacity
