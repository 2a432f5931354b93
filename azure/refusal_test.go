package azure

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// trial is one way in which the emulator brings about a refusal.
type trial struct {
	// late is true if the growth is accepted first.
	late  bool
	fault emulator.Fault
	// quota bounds the vCPUs of the machines.
	quota int
	// meanwhile, if set, happens after the growth was accepted.
	meanwhile func(*testing.T, *world)
	roles     []emulator.RoleAssignment
	// fits is how many machines the refusal says are still to be had.
	fits int
}

// atOnce is a trial in which Azure refuses with that code.
func atOnce(status int, code string) trial {
	return trial{fault: answer(actionWriteSet, status, code, "No.", 0)}
}

// late is a trial in which the operation fails with that code.
func late(code string) trial {
	return trial{late: true, fault: emulator.Fault{Operation: actionWriteSet, Effect: emulator.Effect{Late: &emulator.LateFailure{
		After: metav1.Duration{Duration: time.Minute}, Error: emulator.Error{Status: 409, Code: code, Message: "No."},
	}}}}
}

func lateWith(code, message string, fits int) trial {
	t := late(code)
	t.fault.Effect.Late.Error.Message, t.fits = message, fits
	return t
}

func throttledFor(seconds int) trial {
	return trial{fault: answer(actionWriteSet, 429, "TooManyRequests", "Slow down.", seconds)}
}

// trials are the ways to each row of the table, for a growth from 1 to 5.
var trials = map[string][]trial{
	"PreconditionFailed": {atOnce(412, "PreconditionFailed"), atOnce(412, "ConditionNotMet")},
	"OperationPreempted": {{late: true, meanwhile: func(t *testing.T, w *world) {
		w.emulated.AddFaults(emulator.Fault{Operation: actionWriteSet, Effect: emulator.Effect{Preempt: true}})
		if _, err := w.client(t).Grow(t.Context(), "agents", 5, 6); err != nil {
			t.Error(err)
		}
	}}},
	"OperationNotAllowed (quota), QuotaExceeded": {
		{quota: 100, fits: 2}, lateWith("QuotaExceeded", azureQuota, 2), lateWith("OperationNotAllowed", azureQuota, 2),
	},
	"AllocationFailed, OverconstrainedAllocationRequest": {
		atOnce(409, "AllocationFailed"), late("AllocationFailed"), late("OverconstrainedAllocationRequest"),
	},
	"ZonalAllocationFailed, OverconstrainedZonalAllocationRequest": {
		late("ZonalAllocationFailed"), late("OverconstrainedZonalAllocationRequest"),
	},
	"OSProvisioningTimedOut, OSProvisioningClientError, VMExtensionProvisioningError, VMExtensionProvisioningTimeout": {
		late("OSProvisioningTimedOut"), late("OSProvisioningClientError"), late("VMExtensionProvisioningError"), late("VMExtensionProvisioningTimeout"),
	},
	"SkuNotAvailable":           {atOnce(409, "SkuNotAvailable")},
	"RequestDisallowedByPolicy": {atOnce(403, "RequestDisallowedByPolicy")},
	"ScopeLocked":               {atOnce(409, "ScopeLocked")},
	"AuthorizationFailed, LinkedAuthorizationFailed": {
		{roles: []emulator.RoleAssignment{{Identity: emulator.SystemAssignedName, Role: "Reader", Scope: subscriptionScope}}},
		atOnce(403, "LinkedAuthorizationFailed"),
	},
	"403 of other kinds": {atOnce(403, "Forbidden")},
	"401, no token, no answer": {
		atOnce(401, "InvalidAuthenticationToken"),
		{fault: emulator.Fault{Operation: actionWriteSet, Effect: emulator.Effect{Drop: emulator.DropBefore}}},
		{fault: emulator.Fault{Operation: emulator.IMDSToken, Effect: emulator.Effect{Drop: emulator.DropBefore}}},
	},
	"ResourceNotFound": {
		atOnce(404, "ResourceNotFound"),
		{late: true, meanwhile: func(_ *testing.T, w *world) { w.emulated.RemoveSet("agents") }},
	},
	"OperationNotAllowed (other)": {atOnce(409, "OperationNotAllowed"), late("OperationNotAllowed")},
	"Conflict":                    {atOnce(409, "Conflict"), atOnce(409, "AnotherOperationInProgress")},
	"TooManyRequests":             {throttledFor(1), throttledFor(600), throttledFor(1800)},
	"5xx":                         {atOnce(500, "InternalServerError"), atOnce(503, "ServerBusy"), atOnce(504, "GatewayTimeout")},
	"ProvisioningState/Failed": {{late: true, fault: emulator.Fault{Operation: actionWriteSet, Count: 1, Effect: emulator.Effect{
		Drop: emulator.DropAfter, Late: &emulator.LateFailure{After: metav1.Duration{Duration: time.Minute}, KeepFailed: true},
	}}}},
	"anything else": {atOnce(400, "VMStartTimedOut"), late("VMStartTimedOut")},
}

// run returns the refusal that the trial ends in.
func (tr trial) run(t *testing.T) *capacity.GrowError {
	t.Helper()
	cfg := emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}, Roles: tr.roles}
	if tr.quota > 0 {
		cfg.Quotas = []emulator.Quota{{Family: "standardDSv5Family", Limit: tr.quota, UsedElsewhere: 76}}
	}
	w := newWorld(t, cfg)
	if tr.fault.Operation != "" {
		w.emulated.AddFaults(tr.fault)
	}
	wait, err := w.Grow(t.Context(), "agents", 1, 5)
	if !tr.late {
		return growError(t, err)
	}
	if err != nil {
		t.Fatalf("refused at once: %v", err)
	}
	if tr.meanwhile != nil {
		tr.meanwhile(t, w)
	}
	return growError(t, wait(t.Context()))
}

// stay is how the page calls the time for which a pool is left alone.
func stay(name string, g *capacity.GrowError) string {
	switch {
	case name == "TooManyRequests":
		return "Retry-After"
	case g.Changed:
		return "look again"
	case g.RetryAfter == 0:
		return "doubling"
	case g.RetryAfter < time.Minute:
		return fmt.Sprintf("%d s", int(g.RetryAfter.Seconds()))
	}
	return fmt.Sprintf("%d min", int(g.RetryAfter.Minutes()))
}

// TestTableOfErrors: the page and the table in the code have the same rows, and
// each of them is what comes of Azure's answers.
func TestTableOfErrors(t *testing.T) {
	var inCode, onPage []string
	for _, row := range refusals {
		inCode = append(inCode, row.name)
	}
	page := readPage(t)
	for _, row := range page {
		onPage = append(onPage, row["error"])
	}
	if diff := cmp.Diff(inCode, onPage); diff != "" {
		t.Errorf("rows of the page (-code +page):\n%s", diff)
	}
	for _, row := range page {
		name := row["error"]
		t.Run(name, func(t *testing.T) {
			var arrives []string
			for _, tr := range trials[name] {
				when := "at once"
				if tr.late {
					when = "late"
				}
				if !slices.Contains(arrives, when) {
					arrives = append(arrives, when)
				}
				synctest.Test(t, func(t *testing.T) {
					got := tr.run(t)
					if got.Reason != row["the waiting pod is told"] {
						t.Errorf("a pod is told %q, the page says %q", got.Reason, row["the waiting pod is told"])
					}
					if got := stay(name, got); got != row["stays away"] {
						t.Errorf("stays away: %s, the page says %s", got, row["stays away"])
					}
					if want := asked(tr); got.RetryAfter < want {
						t.Errorf("stays away for %s, although Azure asks for %s", got.RetryAfter, want)
					}
					if got.Fits != tr.fits {
						t.Errorf("%d machines still fit, want %d", got.Fits, tr.fits)
					}
					if strings.Contains(got.Error(), "\n") {
						t.Errorf("the error is not one line: %q", got)
					}
				})
			}
			if got := strings.Join(arrives, " or "); got != row["arrives"] {
				t.Errorf("tried to arrive %q, the page says %q", got, row["arrives"])
			}
		})
	}
}

// asked is how long Azure asks to be left alone in the trial.
func asked(tr trial) time.Duration {
	if e := tr.fault.Effect.Error; e != nil {
		return time.Duration(e.RetryAfterSeconds) * time.Second
	}
	return 0
}

// readPage reads the page's first table, without the marks of code.
func readPage(t *testing.T) []map[string]string {
	t.Helper()
	b, err := os.ReadFile("../docs/azure-errors.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	var head []string
	for _, line := range strings.Split(string(b), "\n") {
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, "`", ""), "|"), "|")
		switch {
		case !strings.HasPrefix(line, "|") && head != nil:
			return rows
		case !strings.HasPrefix(line, "|"), strings.HasPrefix(line, "|---"):
		case head == nil:
			for _, c := range cells {
				head = append(head, strings.TrimSpace(c))
			}
		default:
			row := map[string]string{}
			for i, c := range cells {
				row[head[i]] = strings.TrimSpace(c)
			}
			rows = append(rows, row)
		}
	}
	return rows
}
