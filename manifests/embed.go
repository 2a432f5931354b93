// Package manifests holds what is applied to a cluster and to its k3s servers,
// so that tests, the demo and tools use the very files that users apply.
package manifests

import "embed"

// FS holds the kustomize base at its root, and under k3s what goes to
// /etc/rancher/k3s on every server.
//
//go:embed *.yaml k3s components
var FS embed.FS
