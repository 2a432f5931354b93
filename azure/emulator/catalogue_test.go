package emulator_test

import (
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

const (
	skusPath   = "/subscriptions/" + subscription + "/providers/Microsoft.Compute/skus"
	usagesPath = "/subscriptions/" + subscription + "/providers/Microsoft.Compute/locations/westeurope/usages"
)

// subscriptionReader may read the whole subscription.
var subscriptionReader = []emulator.RoleAssignment{{Identity: emulator.SystemAssignedName, Role: "Reader", Scope: "/subscriptions/" + subscription}}

// listed reads every page of a list, by a client that knows no SDK.
func (w *world) listed(t *testing.T, path, filter string) []map[string]any {
	t.Helper()
	address := w.arm + path + "?api-version=2021-07-01"
	if filter != "" {
		address += "&%24filter=" + url.QueryEscape(filter)
	}
	var items []map[string]any
	authorization := map[string]string{"Authorization": "Bearer " + w.token(t, "https://management.azure.com/")}
	for address != "" {
		page := w.do(t, http.MethodGet, address, "", authorization)
		if page.status != http.StatusOK {
			t.Fatalf("GET %s: %d %s", address, page.status, page.text)
		}
		values, _ := page.body["value"].([]any)
		for _, v := range values {
			items = append(items, v.(map[string]any))
		}
		address, _ = page.body["nextLink"].(string)
	}
	return items
}

func TestCatalogueOfSizes(t *testing.T) {
	cases := map[string]struct {
		filter    string
		locations []string
	}{
		"everything":         {locations: []string{"australiaeast", "westeurope"}},
		"one region":         {filter: "location eq 'westeurope'", locations: []string{"westeurope"}},
		"without its case":   {filter: "location eq 'WestEurope'", locations: []string{"westeurope"}},
		"a region elsewhere": {filter: "location eq 'australiaeast'", locations: []string{"australiaeast"}},
		"no such region":     {filter: "location eq 'moon'", locations: []string{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			own := emulator.ScaleSet{Name: "agents", Size: "Standard_Own_v1", Shape: &emulator.Shape{VCPUs: 3, MemoryGiB: 5, GPUs: 2, ARM64: true, Family: "standardOwnFamily"}}
			w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{own}, Roles: subscriptionReader, PageSize: 3})
			locations, sizes := []string{}, map[string]map[string]any{}
			for _, sku := range w.listed(t, skusPath, tc.filter) {
				location := sku["locations"].([]any)[0].(string)
				if len(locations) == 0 || locations[len(locations)-1] != location {
					locations = append(locations, location)
				}
				if sku["resourceType"] == "virtualMachines" {
					sizes[location+"/"+sku["name"].(string)] = sku
				}
			}
			if diff := cmp.Diff(tc.locations, locations); diff != "" {
				t.Errorf("regions (-want +got):\n%s", diff)
			}
			if len(locations) == 0 || locations[len(locations)-1] != "westeurope" {
				return
			}
			got := map[string]any{}
			size := sizes["westeurope/Standard_Own_v1"]
			capabilities, _ := size["capabilities"].([]any)
			for _, c := range capabilities {
				got[c.(map[string]any)["name"].(string)] = c.(map[string]any)["value"]
			}
			want := map[string]any{"vCPUs": "3", "vCPUsAvailable": "3", "MemoryGB": "5", "GPUs": "2", "CpuArchitectureType": "Arm64"}
			if diff := cmp.Diff(want, got); diff != "" || size["family"] != "standardOwnFamily" {
				t.Errorf("family %v; capabilities of the set's own size (-want +got):\n%s", size["family"], diff)
			}
			if sizes["westeurope/Standard_D8s_v5"] == nil {
				t.Error("a size that is known is not in the catalogue")
			}
		})
	}
}

func TestUsages(t *testing.T) {
	w := virtual(t, emulator.Config{
		ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 2}, {Name: "spot", Capacity: 3, Spot: true}},
		Quotas: []emulator.Quota{
			{Family: "standardDSv5Family", Limit: 100, UsedElsewhere: 8},
			{Family: emulator.RegionalQuota, Limit: 200},
			{Family: emulator.SpotQuota, Limit: 30},
		},
		Roles: subscriptionReader, PageSize: 2,
	})
	got := map[string][2]float64{}
	for _, u := range w.listed(t, usagesPath, "") {
		got[u["name"].(map[string]any)["value"].(string)] = [2]float64{u["currentValue"].(float64), u["limit"].(float64)}
	}
	want := map[string][2]float64{"standardDSv5Family": {24, 100}, "cores": {16, 200}, "lowPriorityCores": {24, 30}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("usages (-want +got):\n%s", diff)
	}
}

// Every quota bounds the machines that count against it.
func TestQuotasAreEnforced(t *testing.T) {
	cases := map[string]struct {
		quota emulator.Quota
		spot  bool
		err   string // "" if the machine may be had
	}{
		"family":                      {quota: emulator.Quota{Family: "standardDSv5Family", Limit: 15}, err: "exceeding approved standardDSv5Family Cores quota"},
		"the whole region":            {quota: emulator.Quota{Family: emulator.RegionalQuota, Limit: 15}, err: "exceeding approved Total Regional Cores quota"},
		"spot":                        {quota: emulator.Quota{Family: emulator.SpotQuota, Limit: 15}, spot: true, err: "exceeding approved LowPriorityCores quota"},
		"spot is not of the family":   {quota: emulator.Quota{Family: "standardDSv5Family", Limit: 15}, spot: true},
		"spot is not of the region":   {quota: emulator.Quota{Family: emulator.RegionalQuota, Limit: 15}, spot: true},
		"regular is not of spot":      {quota: emulator.Quota{Family: emulator.SpotQuota, Limit: 15}},
		"another family":              {quota: emulator.Quota{Family: "standardESv5Family", Limit: 15}},
		"as many as the quota allows": {quota: emulator.Quota{Family: "standardDSv5Family", Limit: 16}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 1, Spot: tc.spot}}, Quotas: []emulator.Quota{tc.quota}})
				sets, _ := w.clients(t, nil)
				_, err := resize(t.Context(), sets, "agents", 2, nil)
				if tc.err == "" {
					if err != nil {
						t.Errorf("refused: %v", err)
					}
					return
				}
				wantError(t, err, http.StatusConflict, "OperationNotAllowed", tc.err+". Additional details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: 15, Current Usage: 8, Additional Required: 8")
			})
		})
	}
}

func TestCatalogueNeedsARoleOnTheSubscription(t *testing.T) {
	cases := map[string]struct{ path, code string }{
		"sizes":                  {skusPath, "AuthorizationFailed"},
		"usages":                 {usagesPath, "AuthorizationFailed"},
		"a filter that is none":  {skusPath + "?$filter=name", "InvalidParameter"},
		"a region that is none":  {"/subscriptions/" + subscription + "/providers/Microsoft.Compute/locations/moon/usages", "NoRegisteredProviderFound"},
		"another's subscription": {"/subscriptions/x/providers/Microsoft.Compute/skus", "AuthorizationFailed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := emulator.Config{}
			if tc.code != "AuthorizationFailed" {
				cfg.Roles = subscriptionReader
			}
			w := virtual(t, cfg)
			u, err := url.Parse(w.arm + tc.path)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			q.Set("api-version", "2021-07-01")
			u.RawQuery = q.Encode()
			a := w.do(t, http.MethodGet, u.String(), "", map[string]string{"Authorization": "Bearer " + w.token(t, "https://management.azure.com/")})
			problem, _ := a.body["error"].(map[string]any)
			if problem["code"] != tc.code {
				t.Errorf("got %d %s, want %s", a.status, a.text, tc.code)
			}
		})
	}
}
