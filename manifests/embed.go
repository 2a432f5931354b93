// Package manifests holds what is applied to a cluster and to its k3s servers,
// so that tests, the demo and tools use the very files that users apply.
package manifests

import "embed"

// FS holds the kustomization that most clusters apply at its root, its parts
// beside it, and under k3s what goes to /etc/rancher/k3s on every server.
//
//go:embed *.yaml core webhook agent cert-manager components overlays k3s
var FS embed.FS
