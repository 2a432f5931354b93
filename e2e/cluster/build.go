package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Binary returns the path of the kube binary (see cmd/kube) and builds it if this machine has not done so yet for
// the same sources and versions. A link called kubectl lies beside it. The first build takes minutes and says so on
// out; builds that start meanwhile, from whatever checkout, wait for it.
func Binary(ctx context.Context, out io.Writer) (string, error) {
	module, err := moduleDir()
	if err != nil {
		return "", err
	}
	hash, err := sourceHash(ctx, module)
	if err != nil {
		return "", fmt.Errorf("hash the sources of cmd/kube: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for the kube binary (set HOME or XDG_CACHE_HOME): %w", err)
	}
	root := filepath.Join(cache, "tidegate")
	dir := filepath.Join(root, hash)
	binary := filepath.Join(dir, "kube")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}

	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(root, "build.lock"), out)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	fmt.Fprintln(out, "building kube-apiserver and friends, about 6 minutes the first time")
	if err := build(ctx, module, binary, out); err != nil {
		return "", err
	}
	return binary, nil
}

// build compiles cmd/kube under another name first: a file called binary is always whole.
func build(ctx context.Context, module, binary string, out io.Writer) error {
	version, err := kubernetesVersion(ctx, module)
	if err != nil {
		return err
	}
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	// Unset, the server reports v0.0.0-master, and clients fail to parse that.
	const pkg = "k8s.io/component-base/version"
	ldflags := fmt.Sprintf("-s -w -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s", pkg, version, major, minor)

	partial := binary + ".partial"
	cmd := exec.CommandContext(ctx, "go", "build", "-o", partial, "-ldflags", ldflags, "./cmd/kube")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s/cmd/kube: %w", module, err)
	}
	kubectl := filepath.Join(filepath.Dir(binary), "kubectl")
	if err := os.Symlink("kube", kubectl); err != nil && !os.IsExist(err) {
		return err
	}
	return os.Rename(partial, binary)
}

func kubernetesVersion(ctx context.Context, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	cmd.Dir = module
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("read the version of k8s.io/kubernetes from %s/go.mod: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// moduleDir is the folder of this module's go.mod, found through the path of this very file.
func moduleDir() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Dir(filepath.Dir(file))
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return "", fmt.Errorf("find the sources of cmd/kube (build without -trimpath, keep the checkout): %w", err)
	}
	return dir, nil
}

// sourceHash covers all that decides what is built: the command's own files, the modules that its packages come from,
// the compiler and the platform. What else the module requires, for tests, makes no difference.
func sourceHash(ctx context.Context, module string) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	files, err := filepath.Glob(filepath.Join(module, "cmd", "kube", "*.go"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(hash, filepath.Base(file), len(text))
		hash.Write(text)
	}
	const modules = "{{with .Module}}{{with .Replace}}{{.Path}} {{.Version}}{{else}}{{.Path}} {{.Version}}{{end}}{{end}}"
	list := exec.CommandContext(ctx, "go", "list", "-deps", "-f", modules, "./cmd/kube")
	list.Dir = module
	out, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("list the packages of cmd/kube: %w", err)
	}
	lines := strings.Split(string(out), "\n")
	slices.Sort(lines)
	for _, line := range slices.Compact(lines) {
		fmt.Fprintln(hash, line)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// lock waits until no other process holds the file; the kernel releases it if this process dies.
func lock(ctx context.Context, path string, out io.Writer) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for waited := false; ; waited = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !waited {
			fmt.Fprintln(out, "waiting for another build of kube-apiserver and friends")
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("wait for another build, which holds %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}
