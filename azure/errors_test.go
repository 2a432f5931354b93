package azure

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/google/go-cmp/cmp"
)

// azureQuota is Azure's own text, shortened at the end.
const azureQuota = "Operation could not be completed as it results in exceeding approved standardDSv5Family Cores quota. " +
	"Additional details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: 100, Current Usage: 84, " +
	"Additional Required: 32, (Minimum) New Limit Required: 116."

func TestParseQuota(t *testing.T) {
	cases := map[string]struct {
		message string
		want    quota
		ok      bool
	}{
		"family": {azureQuota, quota{"standardDSv5Family", 100, 84, 32}, true},
		"regional": {strings.Replace(azureQuota, "standardDSv5Family Cores quota", "Total Regional Cores quota", 1),
			quota{"Total Regional", 100, 84, 32}, true},
		"no numbers":     {"It results in exceeding approved standardDSv5Family Cores quota.", quota{}, false},
		"huge number":    {strings.Replace(azureQuota, "100", strings.Repeat("9", 40), 1), quota{}, false},
		"something else": {"Operation is not allowed.", quota{}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, ok := parseQuota(tc.message)
			if ok != tc.ok {
				t.Fatalf("understood: %t, want %t", ok, tc.ok)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(quota{})); ok && diff != "" {
				t.Errorf("quota (-want +got):\n%s", diff)
			}
		})
	}
}

func TestQuotaFits(t *testing.T) {
	cases := map[string]struct {
		quota quota
		want  int // machines asked for
		fits  int
	}{
		"half of them":                 {quota{"f", 100, 84, 32}, 4, 2},
		"a remainder fits none":        {quota{"f", 100, 84, 36}, 4, 1},
		"less than one":                {quota{"f", 100, 96, 32}, 4, 0},
		"used up":                      {quota{"f", 100, 100, 32}, 4, 0},
		"lowered below use":            {quota{"f", 50, 84, 32}, 4, 0},
		"numbers that make no sense":   {quota{"f", 100, 0, 0}, 4, 0},
		"never as many as was refused": {quota{"f", 100, 0, 8}, 4, 3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.quota.fits(tc.want); got != tc.fits {
				t.Errorf("fits %d, want %d", got, tc.fits)
			}
		})
	}
}

func TestLinkedScope(t *testing.T) {
	conn := &connection{identity: "the identity", machine: Machine{SubscriptionID: "s", ResourceGroup: "g"}}
	const subnet = "/subscriptions/s/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/agents"
	resp := &http.Response{StatusCode: http.StatusForbidden, Body: io.NopCloser(strings.NewReader(
		`{"error":{"code":"LinkedAuthorizationFailed","message":"The client 'c' with object id 'o-1' has permission to perform action 'Microsoft.Compute/virtualMachineScaleSets/write' on scope '/subscriptions/s/x'; however, it does not have permission to perform action(s) 'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) '` + subnet + `' (respectively) or the linked scope(s) are invalid."}}`))}
	err := conn.explain(actionWriteSet, runtime.NewResponseError(resp))
	want := "Azure refuses Microsoft.Network/virtualNetworks/subnets/join/action to the identity: it lacks the role \"Virtual Machine Contributor\" on " + subnet + ";"
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "--assignee-object-id o-1") {
		t.Errorf("error %v, want it to begin with %q", err, want)
	}
}

func TestRetryAfter(t *testing.T) {
	cases := map[string]struct {
		header string
		want   time.Duration
	}{
		"none":     {"", 0},
		"seconds":  {"1800", 30 * time.Minute},
		"negative": {"-5", 0},
		"nonsense": {"soon", 0},
		"a date":   {"Sat, 01 Jan 2000 00:05:00 GMT", 5 * time.Minute},
		"a past":   {"Fri, 31 Dec 1999 00:05:00 GMT", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // begins on 1 January 2000
				resp := &http.Response{Header: http.Header{"Retry-After": {tc.header}}}
				if got := retryAfter(resp); got != tc.want {
					t.Errorf("%s, want %s", got, tc.want)
				}
			})
		})
	}
}
