package emulator_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

const groupScope = "/subscriptions/" + subscription + "/resourceGroups/" + group

func TestRoleAppearsAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}}, Roles: []emulator.RoleAssignment{}})
		sets, _ := w.clients(t, nil)
		_, err := sets.Get(t.Context(), group, "agents", nil)
		wantError(t, err, http.StatusForbidden, "AuthorizationFailed",
			"does not have authorization to perform action 'Microsoft.Compute/virtualMachineScaleSets/read' over scope '"+groupScope+"/providers/Microsoft.Compute/virtualMachineScaleSets/agents'")

		grant := func(r emulator.RoleAssignment) {
			r.Identity = emulator.SystemAssignedName
			if err := w.cloud.SetRoles([]emulator.RoleAssignment{r}); err != nil {
				t.Fatal(err)
			}
		}
		grant(emulator.RoleAssignment{Role: "Reader", Scope: groupScope})
		if _, err := sets.Get(t.Context(), group, "agents", nil); err != nil {
			t.Errorf("a reader reads: %v", err)
		}
		_, err = resize(t.Context(), sets, "agents", 1, nil)
		wantError(t, err, http.StatusForbidden, "AuthorizationFailed", "Microsoft.Compute/virtualMachineScaleSets/write")

		grant(emulator.RoleAssignment{Role: emulator.VirtualMachineContributor, Scope: groupScope})
		if _, err := resize(t.Context(), sets, "agents", 1, nil); err != nil {
			t.Errorf("a contributor writes: %v", err)
		}
		_, err = sets.NewListAllPager(nil).NextPage(t.Context())
		wantError(t, err, http.StatusForbidden, "AuthorizationFailed", "over scope '/subscriptions/"+subscription+"'")

		grant(emulator.RoleAssignment{Actions: []string{"Microsoft.Compute/*/read"}, Scope: strings.ToUpper(groupScope)})
		if _, err := sets.Get(t.Context(), group, "agents", nil); err != nil {
			t.Errorf("an action of its own: %v", err)
		}
		if err := w.cloud.SetRoles([]emulator.RoleAssignment{{Role: "Emperor"}}); err == nil {
			t.Error("an unknown role was accepted")
		}
	})
}

func TestIdentities(t *testing.T) {
	one := emulator.Identity{Name: "one", ClientID: "11111111-0000-4000-8000-000000000001", ObjectID: "11111111-0000-4000-8000-000000000002"}
	two := emulator.Identity{Name: "two", ClientID: "22222222-0000-4000-8000-000000000001"}
	off := false
	resourceID := azidentity.ResourceID(groupScope + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one")
	cases := map[string]struct {
		cfg  emulator.Config
		id   azidentity.ManagedIDKind
		want string // the identity that changes the capacity
		err  string
	}{
		"system-assigned":          {cfg: emulator.Config{UserAssigned: []emulator.Identity{one, two}}, want: "system"},
		"by client ID":             {cfg: emulator.Config{UserAssigned: []emulator.Identity{one, two}}, id: azidentity.ClientID(two.ClientID), want: "two"},
		"by resource ID":           {cfg: emulator.Config{UserAssigned: []emulator.Identity{one, two}}, id: resourceID, want: "one"},
		"by object ID":             {cfg: emulator.Config{UserAssigned: []emulator.Identity{one, two}}, id: azidentity.ObjectID(one.ObjectID), want: "one"},
		"the only one there is":    {cfg: emulator.Config{SystemAssigned: &off, UserAssigned: []emulator.Identity{one}}, want: "one"},
		"one of several, not said": {cfg: emulator.Config{SystemAssigned: &off, UserAssigned: []emulator.Identity{one, two}}, err: "Multiple user assigned identities exist"},
		"none":                     {cfg: emulator.Config{SystemAssigned: &off}, err: "Identity not found"},
		"unknown":                  {id: azidentity.ClientID("33333333-0000-4000-8000-000000000001"), err: "the requested identity isn't assigned to this resource"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.cfg.ScaleSets = []emulator.ScaleSet{{Name: "agents"}}
				w := virtual(t, tc.cfg)
				if tc.err != "" {
					_, err := w.credential(t, tc.id).GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
					if err == nil || !strings.Contains(err.Error(), tc.err) {
						t.Errorf("got %v, want %q", err, tc.err)
					}
					return
				}
				sets, _ := w.clients(t, tc.id)
				if _, err := resize(t.Context(), sets, "agents", 1, nil); err != nil {
					t.Fatal(err)
				}
				if by := w.cloud.History()[0].By; by != tc.want {
					t.Errorf("the capacity was changed by %q, want %q", by, tc.want)
				}
			})
		})
	}
}
