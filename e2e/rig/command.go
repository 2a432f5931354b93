package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tidegate-k3s/tidegate/cli/doctor"
)

// Run runs one of people's commands, such as "status", with the kubeconfig, and
// returns what it prints. What it says on its error output are the error's lines
// after the first.
func (r *Rig) Run(ctx context.Context, kubeconfig string, args ...string) (string, error) {
	return run(exec.CommandContext(ctx, r.binary, args...), "KUBECONFIG="+kubeconfig)
}

// Doctor is what tidegate doctor finds, by check. The error is that with which it
// ends, as it does if a check fails.
func (r *Rig) Doctor(ctx context.Context, kubeconfig string) (map[string]doctor.Finding, error) {
	return found(r.Run(ctx, kubeconfig, "doctor", "-o", "json"))
}

// DoctorOnServer is Doctor on a machine that has the server's name, and is this
// one in all else. It takes root.
func (r *Rig) DoctorOnServer(ctx context.Context, kubeconfig string) (map[string]doctor.Finding, error) {
	const script = `hostname "$0" && exec "$@"`
	cmd := exec.CommandContext(ctx, "unshare", "--uts", "sh", "-c", script, ServerNode, r.binary, "doctor", "-o", "json")
	return found(run(cmd, "KUBECONFIG="+kubeconfig))
}

// found reads findings, and keeps the error with which they came.
func found(out string, err error) (map[string]doctor.Finding, error) {
	var findings []doctor.Finding
	if jsonErr := json.Unmarshal([]byte(out), &findings); jsonErr != nil {
		return nil, errors.Join(err, jsonErr)
	}
	byCheck := map[string]doctor.Finding{}
	for _, f := range findings {
		byCheck[f.Check] = f
	}
	return byCheck, err
}

// RunPlugin runs such a command as kubectl's plugin.
func (r *Rig) RunPlugin(ctx context.Context, kubeconfig string, args ...string) (string, error) {
	dir := filepath.Join(r.dir, "plugins")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := os.Symlink(r.binary, filepath.Join(dir, "kubectl-tidegate")); err != nil && !os.IsExist(err) {
		return "", err
	}
	cmd := exec.CommandContext(ctx, r.Cluster.KubectlPath, append([]string{"tidegate"}, args...)...)
	return run(cmd, "KUBECONFIG="+kubeconfig, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func run(cmd *exec.Cmd, env ...string) (string, error) {
	var stderr strings.Builder
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w:\n%s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}
