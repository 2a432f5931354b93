package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate-k3s/tidegate/e2e/cluster"
)

// startAndHang makes a second run of this test binary start a cluster in that folder, say so and wait to be killed.
const startAndHang = "TIDEGATE_TEST_START_AND_HANG_IN"

// shared is the cluster of all tests that do not need one of their own.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx := context.Background()
	if dir := os.Getenv(startAndHang); dir != "" {
		_, err := cluster.Start(ctx, cluster.Options{Dir: dir})
		fmt.Println("started", err)
		select {}
	}
	var err error
	shared, err = cluster.Start(ctx, cluster.Options{APIServers: 2, NodeGracePeriod: 8 * time.Second})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.Stop()
	return m.Run()
}

func TestStopLeavesNothing(t *testing.T) {
	c, err := cluster.Start(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := processesIn(t, c.Dir)
	c.Stop()
	if len(before) != 5 {
		t.Errorf("the cluster ran %d processes, want 5: %v", len(before), before)
	}
	if left := processesIn(t, c.Dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder %s is still there (%v)", c.Dir, err)
	}
}

func TestFailedStartSaysWhyAndLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "scheduler.yaml")
	text := "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nclientConnection: {}\nextender: []\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, SchedulerConfig: config})
	if err == nil {
		c.Stop()
		t.Fatal("a scheduler accepted a configuration with an unknown field")
	}
	for _, want := range []string{"kube-scheduler ended by itself", "unknown field"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if left := processesIn(t, dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

func TestKilledParentLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), startAndHang+"="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, err := out.Read(line)
	if err != nil || !bytes.HasPrefix(line[:n], []byte("started <nil>")) {
		t.Errorf("the parent said %q (%v)", line[:n], err)
	}
	before := processesIn(t, dir)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	if len(before) != 5 {
		t.Errorf("the cluster ran %d processes, want 5: %v", len(before), before)
	}
	eventually(t, "every process is gone", func() error {
		if left := processesIn(t, dir); len(left) > 0 {
			return fmt.Errorf("processes left: %v", left)
		}
		return nil
	})
}

// processesIn returns the command lines of the processes that work in the folder.
func processesIn(t *testing.T, dir string) (lines []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		// A process that has ended meanwhile has no link and is none of those sought.
		if cwd, err := os.Readlink(link); err == nil && cwd == dir {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			lines = append(lines, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return lines
}

// eventually asks again until the condition holds, and fails the test with its last answer after a minute.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute until %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
