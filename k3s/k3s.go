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
	"slices"
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
// that k3s may be restarted, as far as Unjudged allows.
func Check(server fs.FS, now time.Time) []Finding { return CheckAgainst(server, nil, now) }

// CheckAgainst is Check that knows the authority, as PEM text, that the cluster's
// extender has by now: a server that was given another one asks in vain.
func CheckAgainst(server fs.FS, authority []byte, now time.Time) []Finding {
	settings, findings := readSettings(server, "")
	if len(findings) > 0 {
		return findings
	}
	findings = settings.checkArgs()
	file, unclear := settings.configFile()
	if len(unclear) > 0 {
		return append(findings, unclear...)
	}
	text, err := fs.ReadFile(server, file[1:])
	if err != nil {
		fix := reinstall
		if file != "/"+SchedulerConfig {
			fix = "write it, or take it out of " + argsKey + " and " + reinstall
		}
		return append(findings, unreadable(file, err, fix))
	}
	return append(findings, checkScheduler(files{server, settings.dataDir, file, authority}, text, now)...)
}

// Unjudged says what Check does not see, for whoever relies on it.
const Unjudged = "not judged: the command line of the k3s service, the values of the scheduler's flags and of its plugins' arguments, and which plugin is fit for which point"

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
// be written: the last one makes k3s read the others. A server that is told of a
// configuration elsewhere needs only what that is to name.
func desired(server fs.FS, ca []byte) []file {
	authority := file{ExtenderCA, append(bytes.TrimSpace(ca), '\n')}
	settings, _ := readSettings(server, Snippet) // Check tells of what cannot be read
	config := file{SchedulerConfig, bytes.ReplaceAll(embedded("k3s/scheduler.yaml"), []byte(defaultDataDir+"/"), []byte(settings.dataDir+"/"))}
	switch elsewhere := settings.configFiles(); {
	case len(elsewhere) == 0:
		return []file{authority, config, {Snippet, embedded("k3s/config.yaml.d/tidegate.yaml")}}
	case slices.Contains(elsewhere, "/"+SchedulerConfig):
		return []file{authority, config}
	}
	return []file{authority}
}

// kubeconfig is the one that k3s writes for its scheduler.
func kubeconfig(dataDir string) string { return dataDir + "/server/cred/scheduler.kubeconfig" }

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
