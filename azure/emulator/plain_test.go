package emulator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// The tests of this file speak to ARM without the SDK, as an unrelated client
// would.

const setPath = "/subscriptions/" + subscription + "/resourceGroups/" + group + "/providers/Microsoft.Compute/virtualMachineScaleSets/agents"

type answer struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

func (w *world) do(t *testing.T, method, url, body string, header map[string]string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(b)}
	_ = json.Unmarshal(b, &a.body) // not every answer is an object
	return a
}

// token asks the emulated IMDS for a token of the system-assigned identity.
func (w *world) token(t *testing.T, audience string) string {
	t.Helper()
	a := w.do(t, http.MethodGet, w.imds+"/metadata/identity/oauth2/token?api-version=2018-02-01&resource="+audience, "", map[string]string{"Metadata": "true"})
	token, _ := a.body["access_token"].(string)
	if token == "" {
		t.Fatalf("no token: %d %s", a.status, a.text)
	}
	return token
}

func (w *world) arms(t *testing.T, method, path, body string) answer {
	t.Helper()
	if !strings.HasPrefix(path, "https://") {
		path = w.arm + path + "?api-version=2024-07-01"
	}
	return w.do(t, method, path, body, map[string]string{"Authorization": "Bearer " + w.token(t, "https://management.azure.com/")})
}

func TestOperationsSpeakAzuresHeaders(t *testing.T) {
	cases := map[string]struct {
		method, path, body string
		fault              *emulator.Fault
		status             int
		wantDocument       map[string]any
		wantMonitor        int
	}{
		"update": {
			method: http.MethodPatch, path: setPath, body: `{"sku":{"capacity":2}}`,
			status:       http.StatusOK,
			wantDocument: map[string]any{"status": "Succeeded"}, wantMonitor: http.StatusNoContent,
		},
		"deletion, spelled in another case": {
			method: http.MethodPost, path: strings.ToLower(setPath) + "/delete", body: `{"instanceIds":["0"]}`,
			status:       http.StatusAccepted,
			wantDocument: map[string]any{"status": "Succeeded"}, wantMonitor: http.StatusNoContent,
		},
		"update that fails late": {
			method: http.MethodPatch, path: setPath, body: `{"sku":{"capacity":2}}`,
			fault:  &emulator.Fault{Operation: "Microsoft.Compute/virtualMachineScaleSets/write", Effect: emulator.Effect{Late: emulator.LateAllocationFailure(time.Second)}},
			status: http.StatusOK,
			wantDocument: map[string]any{"status": "Failed", "error": map[string]any{
				"code":    "AllocationFailed",
				"message": "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance",
			}},
			wantMonitor: http.StatusConflict,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 1}}})
				if tc.fault != nil {
					w.cloud.AddFaults(*tc.fault)
				}
				start := w.arms(t, tc.method, tc.path, tc.body)
				if start.status != tc.status {
					t.Fatalf("start: %d %s, want %d", start.status, start.text, tc.status)
				}
				async, location := start.header.Get("Azure-AsyncOperation"), start.header.Get("Location")
				if start.header.Get("Retry-After") != "1" || start.header.Get("Fake-Poller-Status") != "" {
					t.Errorf("start's headers: %v, want Retry-After: 1 and nothing of the fakes", start.header)
				}
				if running := w.arms(t, http.MethodGet, async, ""); running.body["status"] != "InProgress" || running.header.Get("Retry-After") != "1" {
					t.Errorf("while it runs: %s %v", running.text, running.header)
				}
				if running := w.arms(t, http.MethodGet, location, ""); running.status != http.StatusAccepted || running.header.Get("Location") != location {
					t.Errorf("while it runs, behind Location: %d %v", running.status, running.header)
				}
				time.Sleep(time.Minute)
				ended := w.arms(t, http.MethodGet, async, "")
				for _, changing := range []string{"name", "startTime", "endTime"} {
					if ended.body[changing] == nil {
						t.Errorf("the status document has no %s: %s", changing, ended.text)
					}
					delete(ended.body, changing)
				}
				if diff := cmp.Diff(tc.wantDocument, ended.body); diff != "" {
					t.Errorf("status document (-want +got):\n%s", diff)
				}
				if monitored := w.arms(t, http.MethodGet, location, ""); monitored.status != tc.wantMonitor {
					t.Errorf("behind Location at the end: %d, want %d", monitored.status, tc.wantMonitor)
				}
			})
		})
	}
}

func TestMalformedRequests(t *testing.T) {
	cases := map[string]struct {
		method, path, body string
		status             int
		code               string
	}{
		"not JSON":        {method: http.MethodPatch, path: setPath, body: "{", status: http.StatusBadRequest, code: "InvalidRequestContent"},
		"wrong type":      {method: http.MethodPatch, path: setPath, body: `{"sku":{"capacity":"many"}}`, status: http.StatusBadRequest, code: "InvalidRequestContent"},
		"too large":       {method: http.MethodPatch, path: setPath, body: `{"tags":{"a":"` + strings.Repeat("x", 5<<20) + `"}}`, status: http.StatusBadRequest, code: "InvalidRequestContent"},
		"unknown path":    {method: http.MethodGet, path: setPath + "/nothing", status: http.StatusNotFound, code: "InvalidResourceType"},
		"wrong method":    {method: http.MethodDelete, path: setPath, status: http.StatusMethodNotAllowed, code: "MethodNotAllowed"},
		"operation gone":  {method: http.MethodGet, path: "/subscriptions/" + subscription + "/providers/Microsoft.Compute/locations/westeurope/operations/x", status: http.StatusNotFound, code: "NotFound"},
		"no subscription": {method: http.MethodGet, path: "/subscriptions/x/providers/Microsoft.Compute/locations/westeurope/operations/x", status: http.StatusNotFound, code: "SubscriptionNotFound"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}})
			a := w.arms(t, tc.method, tc.path, tc.body)
			problem, _ := a.body["error"].(map[string]any)
			if a.status != tc.status || problem["code"] != tc.code || problem["message"] == "" {
				t.Errorf("got %d %s, want %d %s with a message", a.status, a.text, tc.status, tc.code)
			}
		})
	}
}

func TestAuthentication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}})
		stale := w.token(t, "https://management.azure.com/")
		time.Sleep(5 * time.Minute)
		fresh := w.token(t, "https://management.azure.com/")
		cases := map[string]struct {
			authorization string
			code          string
		}{
			"fresh":          {authorization: "Bearer " + fresh},
			"missing":        {code: "AuthenticationFailed"},
			"expired":        {authorization: "Bearer " + stale, code: "ExpiredAuthenticationToken"},
			"forged":         {authorization: "Bearer " + fresh[:len(fresh)-4] + "AAAA", code: "InvalidAuthenticationToken"},
			"not a token":    {authorization: "Bearer x", code: "InvalidAuthenticationToken"},
			"other audience": {authorization: "Bearer " + w.token(t, "https://vault.azure.net"), code: "InvalidAuthenticationTokenAudience"},
		}
		for name, tc := range cases {
			header := map[string]string{}
			if tc.authorization != "" {
				header["Authorization"] = tc.authorization
			}
			a := w.do(t, http.MethodGet, w.arm+setPath+"?api-version=2024-07-01", "", header)
			if tc.code == "" {
				if a.status != http.StatusOK {
					t.Errorf("%s: got %d %s, want 200", name, a.status, a.text)
				}
				continue
			}
			problem, _ := a.body["error"].(map[string]any)
			if a.status != http.StatusUnauthorized || problem["code"] != tc.code || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer authorization_uri=") {
				t.Errorf("%s: got %d %s %v, want 401 %s with a challenge", name, a.status, a.text, a.header, tc.code)
			}
		}
	})
}

func TestExpiredTokenIsReplacedByTheRealClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}})
		cred := w.credential(t, nil)
		scope := policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}}
		first, err := cred.GetToken(t.Context(), scope)
		if err != nil {
			t.Fatal(err)
		}
		if lifetime := time.Until(first.ExpiresOn); lifetime != 4*time.Minute {
			t.Errorf("azidentity reads a lifetime of %s, want 4m", lifetime)
		}
		sets, _ := w.clients(t, nil)
		for range 3 {
			if _, err := sets.Get(t.Context(), group, "agents", nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
		}
	})
}
