package emulator_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

const (
	anyWrite = "Microsoft.Compute/virtualMachineScaleSets/write"
	anyRead  = "Microsoft.Compute/virtualMachineScaleSets/read"
)

func TestFaultsOfGrowth(t *testing.T) {
	keepFailed := emulator.LateAllocationFailure(20 * time.Second)
	keepFailed.KeepFailed = true
	cases := map[string]struct {
		fault   emulator.Fault
		err     string // of the first attempt
		history []string
		seen    []string
		left    []string
	}{
		"error at once": {
			fault: emulator.Fault{Operation: anyWrite, Count: 1, Effect: emulator.Effect{Error: &emulator.Error{Status: http.StatusConflict, Code: "SkuNotAvailable", Message: "Sold out."}}},
			err:   "SkuNotAvailable",
		},
		"cut before the effect": {
			fault: emulator.Fault{Operation: "*/write", Count: 1, Effect: emulator.Effect{Drop: emulator.DropBefore}},
			err:   "unexpected EOF",
		},
		"cut after the effect": {
			fault:   emulator.Fault{Operation: "microsoft.compute/*/WRITE", Count: 1, Effect: emulator.Effect{Drop: emulator.DropAfter}},
			err:     "unexpected EOF",
			history: []string{`capacity 0 to 1 by "system" (patch)`},
			seen:    []string{"boot agents000000"},
			left:    []string{"0 agents000000 Succeeded PowerState/running"},
		},
		"late, nothing left": {
			fault:   emulator.Fault{Operation: anyWrite, Set: "agents", Count: 1, Effect: emulator.Effect{Late: emulator.LateAllocationFailure(20 * time.Second)}},
			err:     "AllocationFailed",
			history: []string{`capacity 0 to 1 by "system" (patch)`, `failed 0 by "" (allocation)`, `capacity 1 to 0 by "" (allocation)`},
		},
		"late, failed machine left": {
			fault:   emulator.Fault{Operation: anyWrite, Count: 1, Effect: emulator.Effect{Late: keepFailed}},
			err:     "AllocationFailed",
			history: []string{`capacity 0 to 1 by "system" (patch)`, `failed 0 by "" (allocation)`},
			left:    []string{"0 agents000000 Failed PowerState/stopping"},
		},
		"boot that never joins": {
			fault:   emulator.Fault{Operation: emulator.BootOperation, Count: 1, Effect: emulator.Effect{NeverJoin: true}},
			history: []string{`capacity 0 to 1 by "system" (patch)`},
			left:    []string{"0 agents000000 Succeeded PowerState/running"},
		},
		"of another set": {
			fault:   emulator.Fault{Operation: "*", Set: "big", Effect: emulator.Effect{Drop: emulator.DropBefore}},
			history: []string{`capacity 0 to 1 by "system" (patch)`},
			seen:    []string{"boot agents000000"},
			left:    []string{"0 agents000000 Succeeded PowerState/running"},
		},
		"of a later call": {
			fault:   emulator.Fault{Operation: anyWrite, Skip: 1, Effect: emulator.Effect{Drop: emulator.DropBefore}},
			history: []string{`capacity 0 to 1 by "system" (patch)`},
			seen:    []string{"boot agents000000"},
			left:    []string{"0 agents000000 Succeeded PowerState/running"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o observer
				w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}, Observers: []emulator.Observer{&o}})
				w.cloud.AddFaults(tc.fault)
				sets, vms := w.clients(t, nil)
				_, err := resize(t.Context(), sets, "agents", 1, nil)
				if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v, want %q", err, tc.err)
				}
				time.Sleep(time.Minute)
				if diff := cmp.Diff(tc.history, lines(w.cloud, emulator.CapacityChanged, emulator.InstanceFailed)); diff != "" {
					t.Errorf("history (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.seen, o.seen); diff != "" {
					t.Errorf("what the observer was told (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.left, listVMs(t, vms, "agents")); diff != "" {
					t.Errorf("machines (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestFaultsUseThemselvesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}})
		sets, _ := w.clients(t, nil)
		busy := &emulator.Error{Status: http.StatusServiceUnavailable, Code: "Busy", Message: "Later."}
		w.cloud.AddFaults(emulator.Fault{Operation: anyRead, Skip: 1, Count: 2, Effect: emulator.Effect{Error: busy}})
		var got []bool
		for range 5 {
			_, err := sets.Get(t.Context(), group, "agents", nil)
			got = append(got, err == nil)
		}
		if diff := cmp.Diff([]bool{true, false, false, true, true}, got); diff != "" {
			t.Errorf("successes (-want +got):\n%s", diff)
		}
		w.cloud.AddFaults(emulator.Fault{Operation: anyRead, Effect: emulator.Effect{Error: busy}})
		if _, err := sets.Get(t.Context(), group, "agents", nil); err == nil {
			t.Error("a fault without a count was used up")
		}
		w.cloud.ClearFaults()
		if _, err := sets.Get(t.Context(), group, "agents", nil); err != nil {
			t.Errorf("after clearing: %v", err)
		}
	})
}

func TestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o observer
		w := virtual(t, emulator.Config{
			ScaleSets: []emulator.ScaleSet{{Name: "agents", BootTime: emulator.Between(10*time.Second, 10*time.Second)}},
			Observers: []emulator.Observer{&o},
		})
		minute := metav1.Duration{Duration: time.Minute}
		w.cloud.AddFaults(
			emulator.Fault{Operation: anyRead, Count: 1, Effect: emulator.Effect{Delay: minute}},
			emulator.Fault{Operation: emulator.BootOperation, Effect: emulator.Effect{Delay: minute}},
		)
		sets, _ := w.clients(t, nil)
		start := time.Now()
		if _, err := sets.Get(t.Context(), group, "agents", nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("the delayed read took %s, want 1m", took)
		}
		start = time.Now()
		if _, err := resize(t.Context(), sets, "agents", 1, nil); err != nil {
			t.Fatal(err)
		}
		w.cloud.Advance(start.Add(69 * time.Second))
		if len(o.seen) != 0 {
			t.Errorf("the slow machine joined early: %v", o.seen)
		}
		w.cloud.Advance(start.Add(70 * time.Second))
		if len(o.seen) != 1 {
			t.Errorf("the slow machine did not join in 70 s: %v", o.seen)
		}
	})
}

func TestIMDSDown(t *testing.T) {
	w := virtual(t, emulator.Config{})
	w.cloud.AddFaults(
		emulator.Fault{Operation: "imds/*", Count: 1, Effect: emulator.Effect{Drop: emulator.DropBefore}},
		emulator.Fault{Operation: emulator.IMDSToken, Effect: emulator.Effect{Error: &emulator.Error{Status: http.StatusInternalServerError, Code: "unknown", Message: "Failed to retrieve token."}}},
	)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.imds+instancePath, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := w.http.Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("got %s, want a cut connection", resp.Status)
	}
	if a := w.do(t, http.MethodGet, w.imds+instancePath, "", metadata); a.status != http.StatusOK {
		t.Errorf("instance metadata: %d %s", a.status, a.text)
	}
	if a := w.do(t, http.MethodGet, w.imds+"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x", "", metadata); a.status != http.StatusInternalServerError {
		t.Errorf("token: %d %s, want 500", a.status, a.text)
	}
}
