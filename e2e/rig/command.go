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
	out, err := r.Run(ctx, kubeconfig, "doctor", "-o", "json")
	var findings []doctor.Finding
	if jsonErr := json.Unmarshal([]byte(out), &findings); jsonErr != nil {
		return nil, errors.Join(err, jsonErr)
	}
	found := map[string]doctor.Finding{}
	for _, f := range findings {
		found[f.Check] = f
	}
	return found, err
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
