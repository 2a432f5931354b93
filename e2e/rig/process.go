package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

// Process is one replica of tidegate run, as the manifests run it: extender and
// capacity manager with one ServiceAccount and, beside it, the webhook with its
// own; or it is an agent.
type Process struct {
	// LogFile is where its log goes.
	LogFile string
	// HealthURL and MetricsURL are the bases of its other endpoints; an agent has
	// none.
	HealthURL, MetricsURL string

	cmd     *exec.Cmd
	exited  chan struct{}
	err     error
	webhook *Process // the other workload, nil for none
}

// ProcessOptions differ from replica to replica.
type ProcessOptions struct {
	// Failpoint kills the process at a write, such as "fence:after"; it needs
	// Options.Failpoints.
	Failpoint string
	// Standby is true for a replica that the scheduler and the API server do
	// not call: its webhook and extender listen on a port of their own.
	Standby bool
	// Args are further flags, and Env further variables.
	Args, Env []string
}

// noWebhook is the flag of a replica without the webhook beside it.
const noWebhook = "--webhook=false"

// StartTidegate starts a replica of tidegate run and returns at once; see
// AwaitReady.
func (r *Rig) StartTidegate(options ProcessOptions) (*Process, error) {
	webhook, extender := r.webhookPort, r.extenderPort
	if options.Standby {
		var err error
		if webhook, err = cluster.FreePort(); err != nil {
			return nil, err
		}
		if extender, err = cluster.FreePort(); err != nil {
			return nil, err
		}
	}
	p, err := r.startRun(ServerAccount, options, slices.Concat([]string{
		noWebhook,
		"--extender-port", strconv.Itoa(extender),
		"--extender-client-ca", r.Cluster.CAFile,
		"--imds-endpoint", r.Azure.IMDSEndpoint(),
		"--arm-endpoint", r.Azure.ARMEndpoint(), "--arm-ca", r.armCA(),
		"--settle", r.options.Settle.String(),
	}, r.servingFlags("--extender-cert-dir", r.extenderCert), options.Args))
	if err != nil || slices.Contains(options.Args, noWebhook) {
		return p, err
	}
	p.webhook, err = r.startRun(WebhookAccount, ProcessOptions{Env: options.Env}, append([]string{
		"--extender=false", "--capacity=false",
		"--webhook-host", "127.0.0.1", "--webhook-port", strconv.Itoa(webhook),
	}, r.servingFlags("--webhook-cert-dir", r.webhookCert)...))
	return p, err
}

// startRun starts tidegate run as that account.
func (r *Rig) startRun(account string, options ProcessOptions, args []string) (*Process, error) {
	var addresses [2]string
	for i := range addresses {
		port, err := cluster.FreePort()
		if err != nil {
			return nil, err
		}
		addresses[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	metrics, health := addresses[0], addresses[1]
	kubeconfig, err := r.kubeconfig(account)
	if err != nil {
		return nil, err
	}
	args = append([]string{
		"run", "--kubeconfig", kubeconfig,
		"--metrics-address", metrics, "--health-address", health,
	}, args...)
	p, err := r.start(append([]string{"TIDEGATE_FAILPOINT=" + options.Failpoint}, options.Env...), args)
	if err != nil {
		return nil, err
	}
	p.HealthURL, p.MetricsURL = "http://"+health, "http://"+metrics
	return p, nil
}

// start starts tidegate with further environment variables.
func (r *Rig) start(env, args []string) (*Process, error) {
	p := &Process{
		LogFile: filepath.Join(r.dir, fmt.Sprintf("tidegate-%d.log", len(r.processes))),
		cmd:     exec.Command(r.binary, args...),
		exited:  make(chan struct{}),
	}
	log, err := os.Create(p.LogFile)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stderr, p.cmd.Stdout = log, log
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("start tidegate %s: %w", args[0], err)
	}
	r.processes = append(r.processes, p)
	return p, nil
}

// start starts the process so that it dies with this program, whatever ends
// that. The kernel's signal follows the thread that started the process, so
// that thread stays with it.
func (p *Process) start() error {
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.exited)
		}
	}()
	return <-started
}

// Kill ends the process as kill -9 does, and waits until it is gone.
func (p *Process) Kill() {
	if p.webhook != nil {
		p.webhook.Kill()
	}
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.exited
}

// Terminate asks the process to stop, and returns how it ended.
func (p *Process) Terminate(ctx context.Context) error {
	if p.webhook != nil {
		if err := p.webhook.Terminate(ctx); err != nil {
			return fmt.Errorf("the webhook: %w", err)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("tidegate run does not stop: %w", ctx.Err())
	}
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Killed reports whether the process has ended as kill -9 ends one.
func (p *Process) Killed() bool {
	<-p.exited
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Webhook is the process of the webhook, nil if there is none.
func (p *Process) Webhook() *Process { return p.webhook }

// Log returns what the process has logged, without that of the webhook.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Ready asks /readyz, and returns the answer's status and text.
func (p *Process) Ready(ctx context.Context) (int, string) {
	return get(ctx, p.HealthURL+"/readyz?verbose")
}

// Check asks one check of /readyz, which unlike /readyz itself says why it fails.
func (p *Process) Check(ctx context.Context, name string) (int, string) {
	return get(ctx, p.HealthURL+"/readyz/"+name)
}

// Metrics returns the text of /metrics.
func (p *Process) Metrics(ctx context.Context) (int, string) {
	return get(ctx, p.MetricsURL+"/metrics")
}

// AwaitReady waits until the process says that it is ready.
func (p *Process) AwaitReady(ctx context.Context) error {
	if p.webhook != nil {
		if err := p.webhook.AwaitReady(ctx); err != nil {
			return fmt.Errorf("the webhook: %w", err)
		}
	}
	for {
		code, text := p.Ready(ctx)
		if code == http.StatusOK {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("tidegate run ended: %v\n%s", p.err, p.Log())
		case <-ctx.Done():
			return fmt.Errorf("tidegate run does not get ready: %w\n%s\n%s", ctx.Err(), text, p.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) (int, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// build builds Tidegate from the checkout in root into a folder of its own below
// dir.
func build(ctx context.Context, root, dir string, failpoints bool, out io.Writer) (string, error) {
	dir, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "tidegate")
	args := []string{"build", "-o", binary}
	if failpoints {
		args = append(args, "-tags", "failpoint")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/tidegate")...)
	cmd.Dir = root
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build tidegate: %w", err)
	}
	return binary, nil
}
