// Package cli is what people's commands do: it reads a cluster with the
// caller's own rights, turns Kubernetes objects into reports, and writes the
// few annotations by which an operator speaks to Tidegate. Reports are pure
// functions of what was read; nothing here talks to a running Tidegate.
package cli
