// Package k3s checks and installs the files by which the scheduler inside a k3s
// server asks Tidegate's extender. A scheduler that cannot read its
// configuration takes the whole server down with it, so that everything is
// judged before anybody restarts k3s.
package k3s

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tidegate-k3s/tidegate/manifests"
)

// The files, relative to the server's root folder.
const (
	// Snippet has k3s start its scheduler with SchedulerConfig.
	Snippet = "etc/rancher/k3s/config.yaml.d/tidegate.yaml"
	// SchedulerConfig is the KubeSchedulerConfiguration.
	SchedulerConfig = "etc/rancher/k3s/tidegate/scheduler.yaml"
	// ExtenderCA is the authority of the extender's certificate.
	ExtenderCA = "etc/rancher/k3s/tidegate/ca.crt"
	// AdminKubeconfig is what k3s writes for the administrator.
	AdminKubeconfig = "etc/rancher/k3s/k3s.yaml"
)

// RestartCommand makes k3s read the files.
const RestartCommand = "systemctl restart k3s"

// Finding is one reason not to restart k3s.
type Finding struct {
	// File is the absolute path on the server.
	File string
	// Problem is what is wrong with it, Fix what to do.
	Problem, Fix string
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.File, f.Problem, f.Fix) }

// Check judges the server's files, without talking to anybody. No finding means
// that k3s may be restarted.
func Check(server fs.FS, now time.Time) []Finding {
	args, findings := schedulerArgs(server)
	if len(findings) > 0 {
		return findings
	}
	file, findings := configFile(args)
	if len(findings) > 0 {
		return findings
	}
	text, err := fs.ReadFile(server, file[1:])
	if err != nil {
		return []Finding{unreadable(file, err, reinstall)}
	}
	return checkScheduler(server, file, text, now)
}

// reinstall is the fix of whatever Install writes.
const reinstall = "run tidegate k3s install"

// unreadable is the finding of a file that cannot be read.
func unreadable(file string, err error, fix string) Finding {
	if errors.Is(err, fs.ErrNotExist) {
		return Finding{file, "there is no such file", fix}
	}
	return Finding{file, err.Error(), fix}
}

// desired are the files that a server needs, in the order in which they are to
// be written: the last one makes k3s read the others.
func desired(ca []byte) []file {
	return []file{
		{ExtenderCA, append(bytes.TrimSpace(ca), '\n')},
		{SchedulerConfig, embedded("k3s/scheduler.yaml")},
		{Snippet, embedded("k3s/config.yaml.d/tidegate.yaml")},
	}
}

type file struct {
	path    string
	content []byte
}

func embedded(name string) []byte {
	text, err := manifests.FS.ReadFile(name)
	if err != nil {
		panic(err) // it is compiled in
	}
	return text
}
