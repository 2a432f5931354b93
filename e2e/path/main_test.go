// Package path tests the whole path on real parts: a real control plane, an
// emulated Azure whose machines join it, and tidegate run as a process.
package path

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

const (
	// subscription is the emulator's.
	subscription = "/subscriptions/00000000-0000-4000-8000-000000000001"
	// settle is how long fences stand before the last look: no request here
	// lives longer than a moment.
	settle = time.Second
	// patience is how long anything may take that is to happen.
	patience = time.Minute
	// tokenLife makes every longer test one with tokens that expire.
	tokenLife = 20 * time.Second
)

// suite is the one rig that the tests share; each test has a pool, and a
// namespace, of its own. Tests that disturb others do not run in parallel.
var suite struct {
	once      sync.Once
	rig       *rig.Rig
	err       error
	mu        sync.Mutex
	processes []*rig.Process  // every replica that was started
	running   *rig.Process    // the replica that serves the tests by default
	killed    map[string]bool // kinds of write before and after which one was killed
}

func TestMain(m *testing.M) {
	code := permissions(m.Run())
	if suite.rig != nil {
		suite.rig.Stop()
	}
	os.Exit(code)
}

// pools are the scale sets of the rig: name and further tags.
var pools = map[string]map[string]string{
	"whole":     nil,
	"absent":    nil,
	"kills":     nil,
	"fence":     nil,
	"bypass":    nil,
	"tamper":    nil,
	"servers":   nil,
	"leader":    nil,
	"restart":   nil,
	"token":     nil,
	"denied":    nil,
	"imds":      nil,
	"sigterm":   nil,
	"least":     {api.MinTag: "1"},
	"keep":      nil,
	"disk":      nil,
	"asked":     nil,
	"again":     nil,
	"off":       {api.RetireTag: api.RetireDeallocate},
	"breaks":    {api.RetireTag: api.RetireDeallocate, api.ProtectTag: api.ProtectBusy},
	"stillborn": nil,
	"broken":    {api.MaxTag: "9"},
	"roll":      {api.MinTag: "1"},
	"strangers": nil,
	"agent":     nil,
	"preempt":   nil,
	"notice":    nil,
	"taken":     nil,
	"warn":      nil,
	"full":      {api.MaxTag: "1"},
	"bysize":    nil,
	"volumes":   nil,
	"twosmall":  {api.PriceTag: "0.4"},
	"twolarge":  {api.PriceTag: "0.8"},
}

// twoLabel is on the nodes of the two pools between which Tidegate chooses.
const twoLabel = "e2e.tidegate.io/two"

func scaleSets() []emulator.ScaleSet {
	var sets []emulator.ScaleSet
	for name, tags := range pools {
		set := emulator.ScaleSet{Name: name, BootTime: emulator.Between(time.Second, 2*time.Second), Tags: map[string]string{
			api.EnabledTag: "enabled", api.MinTag: "0", api.MaxTag: "3", api.IdleAfterTag: "3s",
		}}
		cpu, memory := "8", "32Gi"
		if name == "twolarge" {
			set.Size, cpu, memory = "Standard_D16s_v5", "16", "64Gi"
		}
		if name == "again" {
			set.Node.Taints = []corev1.Taint{{Key: api.StartupTaint, Effect: corev1.TaintEffectNoSchedule}}
		}
		if name == "notice" {
			set.TerminateNotice = metav1.Duration{Duration: 10 * time.Minute}
		}
		const template = "k8s.io_cluster-autoscaler_node-template_"
		if name != "bysize" {
			set.Tags[template+"resources_cpu"], set.Tags[template+"resources_memory"] = cpu, memory
		}
		if strings.HasPrefix(name, "two") {
			set.Tags[template+"label_"+twoLabel] = "yes"
			set.Node.Labels = map[string]string{twoLabel: "yes"}
		}
		for key, value := range tags {
			set.Tags[key] = value
		}
		sets = append(sets, set)
	}
	return sets
}

// sharedRig starts the rig with the first test that needs it.
func sharedRig(t *testing.T) *rig.Rig {
	t.Helper()
	suite.once.Do(func() {
		suite.killed = map[string]bool{}
		suite.rig, suite.err = rig.Start(context.Background(), rig.Options{
			Settle: settle, Failpoints: true, APIServers: 2,
			Azure: emulator.Config{
				ScaleSets: scaleSets(), Limits: emulator.Limits{Off: true},
				TokenLifetime: metav1.Duration{Duration: tokenLife},
				Roles: []emulator.RoleAssignment{
					{Identity: emulator.SystemAssignedName, Role: emulator.VirtualMachineContributor, Scope: subscription + "/resourceGroups/tidegate"},
					{Identity: emulator.SystemAssignedName, Role: "Reader", Scope: subscription},
				},
			},
		})
	})
	if suite.err != nil {
		t.Fatalf("start the rig: %v", suite.err)
	}
	return suite.rig
}

// start starts a replica whose log the failures of tests show.
func start(t *testing.T, options rig.ProcessOptions) *rig.Process {
	t.Helper()
	suite.mu.Lock()
	defer suite.mu.Unlock()
	p, err := sharedRig(t).StartTidegate(options)
	if err != nil {
		t.Fatal(err)
	}
	suite.processes = append(suite.processes, p)
	if hook := p.Webhook(); hook != nil {
		ready(t, hook) // the API server refuses opted-in pods without it
	}
	return p
}

// tidegate returns the replica that serves the tests by default, and starts it
// if it does not run.
func tidegate(t *testing.T) *rig.Process {
	t.Helper()
	suite.mu.Lock()
	p := suite.running
	suite.mu.Unlock()
	if p == nil {
		p = start(t, rig.ProcessOptions{})
		suite.mu.Lock()
		suite.running = p
		suite.mu.Unlock()
	}
	ready(t, p)
	return p
}

// ready waits until the replica says that it is.
func ready(t *testing.T, p *rig.Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

// stopTidegate stops the default replica for a test that starts its own.
func stopTidegate(t *testing.T) {
	t.Helper()
	suite.mu.Lock()
	p := suite.running
	suite.running = nil
	suite.mu.Unlock()
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Terminate(ctx); err != nil {
		t.Fatalf("%v\n%s", err, logs())
	}
}

// own starts a replica for one test only.
func own(t *testing.T, options rig.ProcessOptions) *rig.Process {
	t.Helper()
	stopTidegate(t)
	return replica(t, options)
}

// replica starts a further replica for one test only.
func replica(t *testing.T, options rig.ProcessOptions) *rig.Process {
	t.Helper()
	p := start(t, options)
	t.Cleanup(func() {
		p.Kill()
		freeLease(t)
	})
	return p
}

// freeLease takes the leader's lease away from a replica that was killed: its
// holder is dead for sure, and nobody needs to wait until it runs out.
func freeLease(t *testing.T) {
	t.Helper()
	err := suite.rig.Client.CoordinationV1().Leases(api.Namespace).Delete(context.WithoutCancel(t.Context()), api.LeaseName, metav1.DeleteOptions{})
	if err != nil && !isGone(err) {
		t.Fatal(err)
	}
}

// logs returns the ends of the last replicas' logs.
func logs() string {
	suite.mu.Lock()
	defer suite.mu.Unlock()
	var out strings.Builder
	last := suite.processes[max(0, len(suite.processes)-3):]
	for _, p := range last {
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(p.Log()), "\n"), func(line string) bool {
			return strings.Contains(line, "logger=controller-runtime") || strings.Contains(line, "pools discovered")
		})
		fmt.Fprintf(&out, "--- %s ends with:\n%s\n", p.LogFile, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
	return out.String()
}
