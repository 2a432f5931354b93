package azure

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

func TestIdentity(t *testing.T) {
	const (
		clientID   = "11111111-2222-4333-8444-555555555555"
		resourceID = "/subscriptions/s/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/scaler"
	)
	cases := map[string]struct {
		system  bool
		none    bool // no user-assigned identity
		options func(*Options)
		wantBy  string // who changed the set, in the emulator's words
		wantErr string
	}{
		"system-assigned": {system: true, wantBy: emulator.SystemAssignedName},
		"user-assigned by client ID": {system: true, wantBy: "scaler",
			options: func(o *Options) { o.ClientID = clientID }},
		"user-assigned by resource ID": {system: true, wantBy: "scaler",
			options: func(o *Options) { o.ResourceID = resourceID }},
		"the only one is user-assigned": {wantBy: "scaler"},
		"no identity at all": {none: true,
			wantErr: "IMDS at http://imds.test gives no token for the system-assigned identity of VM master; is the identity assigned to this VM?"},
		"not assigned to this VM": {system: true,
			options: func(o *Options) { o.ClientID = "99999999-2222-4333-8444-555555555555" },
			wantErr: "IMDS at http://imds.test gives no token for the user-assigned identity with client ID 99999999-2222-4333-8444-555555555555; is the identity assigned to this VM? (HTTP 400 Bad Request: Identity not found)"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tc.options == nil {
					tc.options = func(*Options) {}
				}
				cfg := emulator.Config{SystemAssigned: &tc.system, ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}}
				if !tc.none {
					cfg.UserAssigned = []emulator.Identity{{Name: "scaler", ClientID: clientID, ResourceID: resourceID}}
				}
				w := newWorld(t, cfg, tc.options)
				_, err := w.Grow(t.Context(), "agents", 0, 1)
				if tc.wantErr != "" {
					if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
						t.Fatalf("error %v, want it to say %q", err, tc.wantErr)
					}
					if ready := w.Ready(); ready == nil || !strings.Contains(ready.Error(), tc.wantErr) {
						t.Errorf("Ready: %v, want the same", ready)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := []string{"agents  patch by " + tc.wantBy}
				if diff := cmp.Diff(want, w.events(emulator.CapacityChanged)); diff != "" {
					t.Errorf("who grew the pool (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A token that has expired is replaced without anybody noticing, also one that
// Azure rejects before its time.
func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{
			TokenLifetime: metav1.Duration{Duration: time.Minute},
			ScaleSets:     []emulator.ScaleSet{tagged("agents", 0)},
		})
		if _, err := w.Pools(t.Context(), capacity.Known{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		wait, err := w.Grow(t.Context(), "agents", 0, 1)
		if err != nil {
			t.Fatalf("after the token expired: %v", err)
		}
		w.emulated.AddFaults(emulator.Fault{Operation: actionReadInstances, Count: 1, Effect: emulator.Effect{
			Error: &emulator.Error{Status: 401, Code: "ExpiredAuthenticationToken", Message: "The access token expired."}}})
		before := w.tokens
		if _, err := w.Instances(t.Context(), "agents"); err != nil {
			t.Errorf("after the token was rejected once: %v", err)
		}
		if w.tokens != before+1 {
			t.Errorf("%d tokens were asked for after the rejection, want 1", w.tokens-before)
		}
		if err := wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestMissingRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{
			Roles:     []emulator.RoleAssignment{},
			ScaleSets: []emulator.ScaleSet{tagged("agents", 0)},
		})
		_, err := w.Pools(t.Context(), capacity.Known{})
		if err == nil {
			t.Fatal("the scale sets were listed without any role")
		}
		scope := "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/tidegate"
		for _, part := range []string{
			actionReadSets, "the system-assigned identity of VM master", `lacks the role "Virtual Machine Contributor" on ` + scope + ";",
			"az role assignment create", "AuthorizationFailed",
		} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error does not say %q: %v", part, err)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("the error is not one line: %q", err)
		}
		if ready := w.Ready(); ready == nil || !strings.Contains(err.Error(), ready.Error()) {
			t.Errorf("Ready says %v, want what the call said", ready)
		}

		reader := emulator.RoleAssignment{Identity: emulator.SystemAssignedName, Role: "Reader", Scope: scope}
		if err := w.emulated.SetRoles([]emulator.RoleAssignment{reader}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Pools(t.Context(), capacity.Known{}); err != nil || w.Ready() != nil {
			t.Fatalf("with the role Reader: %v, Ready: %v", err, w.Ready())
		}
		_, err = w.Grow(t.Context(), "agents", 0, 1)
		if g := growError(t, err); g.Reason != `Tidegate's identity lacks the role "Virtual Machine Contributor"` {
			t.Errorf("reason %q does not name the role", g.Reason)
		}
		if _, err := w.Pools(t.Context(), capacity.Known{}); err != nil || w.Ready() == nil {
			t.Errorf("that reading works (%v) must not hide that growing does not: Ready %v", err, w.Ready())
		}

		contributor := emulator.RoleAssignment{Identity: emulator.SystemAssignedName, Role: emulator.VirtualMachineContributor, Scope: scope}
		if err := w.emulated.SetRoles([]emulator.RoleAssignment{contributor}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Grow(t.Context(), "agents", 0, 1); err != nil || w.Ready() != nil {
			t.Errorf("after the role was assigned: %v, Ready: %v", err, w.Ready())
		}
	})
}
