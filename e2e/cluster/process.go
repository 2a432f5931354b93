package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// process is one running component. It dies with this program, whatever ends that: its standard input is a pipe
// whose other end only this program holds.
type process struct {
	name string
	log  string // path of the file that has its output
	cmd  *exec.Cmd
	done chan struct{} // closed once the process is gone
	err  error         // how it ended; valid after done
}

// startProcess runs the named program of the kube binary in dir and appends its output to dir/<component>.log.
func startProcess(binary, dir, component string, args []string) (*process, error) {
	p := &process{name: component, log: filepath.Join(dir, component+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", component, err)
	}
	defer log.Close()

	p.cmd = exec.Command(binary, append([]string{"supervised"}, args...)...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Without HOME and proxies nothing but the arguments decides what a component reads and whom it talks to.
	p.cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}
	// In a group of its own it does not get the terminal's Ctrl-C: whoever started it decides the order of ending.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", component, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", component, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// failure describes a process that has ended by itself, with the last lines that it wrote.
func (p *process) failure() error {
	return fmt.Errorf("%s ended by itself (%v); its log %s ends with:\n%s", p.name, p.err, p.log, tail(p.log, 15))
}

func tail(path string, lines int) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(all[max(0, len(all)-lines):], []byte("\n"))
}
