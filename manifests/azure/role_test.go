package azuretemplate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// life is all that Tidegate does to a scale set: find it, buy a machine, list it,
// protect, restart, reimage, deallocate, start and delete it.
func life(ctx context.Context, config emulator.Config) error {
	config.ScaleSets[0].BootTime = emulator.Between(time.Millisecond, 2*time.Millisecond)
	config.ScaleSets[0].TerminateNotice.Duration = 0
	config.DeleteTime = emulator.Between(time.Millisecond, 2*time.Millisecond)
	config.TokenLifetime.Duration = 4 * time.Minute // shorter than what one process shares
	server, err := emulator.New(config)
	if err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return err
	}
	defer server.Close()
	options := azure.Options{IMDSEndpoint: server.IMDSEndpoint(), ARMEndpoint: server.ARMEndpoint(), ARMCA: server.CAPEM()}
	if len(config.UserAssigned) > 0 {
		options.ClientID = config.UserAssigned[0].ClientID
	}
	cloud, err := azure.New(options)
	if err != nil {
		return err
	}
	pools, err := cloud.Pools(ctx, capacity.Known{})
	if err != nil {
		return err
	}
	if len(pools) != 1 || pools[0].Refused != "" {
		return fmt.Errorf("pools %+v, want the one of the template", pools)
	}
	pool := pools[0]
	grown, err := cloud.Grow(ctx, pool.Name, pool.Capacity, pool.Capacity+1)
	if err != nil {
		return err
	}
	if err := grown(ctx); err != nil {
		return err
	}
	instances, err := cloud.Instances(ctx, pool.Name)
	if err != nil {
		return err
	}
	refs := []capacity.Ref{{ID: instances[0].ID, VMID: instances[0].VMID}}
	if err := cloud.Protect(ctx, pool.Name, refs[0], true); err != nil {
		return err
	}
	for _, fate := range []api.Fate{api.FateRestart, api.FateReimage, api.FateDeallocate} {
		restarted, err := cloud.Restart(ctx, pool.Name, fate, refs)
		if err != nil {
			return err
		}
		if err := restarted(ctx); err != nil {
			return err
		}
	}
	started, err := cloud.Start(ctx, pool.Name, refs)
	if err != nil {
		return err
	}
	if err := started(ctx); err != nil {
		return err
	}
	deleted, err := cloud.Delete(ctx, pool.Name, refs)
	if err != nil {
		return err
	}
	return deleted(ctx)
}

// What the template deploys is enough for a machine's whole life, with either
// identity and either role.
func TestDeployedIsEnough(t *testing.T) {
	for name, parameters := range map[string]map[string]any{
		"as it is":               {},
		"user-assigned identity": {"identity": "UserAssigned"},
		"the built-in role":      {"customRole": false},
		"both":                   {"identity": "UserAssigned", "customRole": false},
		"spot":                   {"spot": true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // Azure's answers take seconds
			config, err := Emulated(given(parameters))
			if err != nil {
				t.Fatal(err)
			}
			if err := life(t.Context(), config); err != nil {
				t.Error(err)
			}
		})
	}
}

// A template that lets the server do less is noticed: by Azure when it is
// deployed, or by the first request that is refused.
func TestLessIsNotEnough(t *testing.T) {
	assignment := func(t template) map[string]any {
		for _, r := range t.Resources {
			if r["type"] == deployments && r["condition"] == nil {
				return r
			}
		}
		return nil
	}
	parameter := func(t template, name string, value any) {
		found(assignment(t), "properties", "parameters", name).(map[string]any)["value"] = value
	}
	nested := func(t template) map[string]any {
		return found(assignment(t), "properties", "template").(map[string]any)["resources"].([]any)[0].(map[string]any)
	}
	reader := "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'acdd72a7-3385-48ef-bd42-f606fba81ae7')]"
	nobodys := "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '9980e02c-c2be-4d73-94e8-173b1dc7cf3d')]"
	for name, tc := range map[string]struct {
		change func(template) template
		want   string
	}{
		"no assignment": {func(t template) template {
			t.Resources = slices.DeleteFunc(t.Resources, func(r map[string]any) bool { return r["type"] == deployments })
			return t
		}, "virtualMachineScaleSets/read"},
		"a role that reads": {func(t template) template {
			parameter(t, "roleDefinitionId", reader)
			return t
		}, "virtualMachineScaleSets/write"},
		"no role of Azure's": {func(t template) template {
			parameter(t, "roleDefinitionId", nobodys)
			return t
		}, "9980e02c-c2be-4d73-94e8-173b1dc7cf3d is not deployed"},
		"for somebody else": {func(t template) template {
			parameter(t, "principalId", "22222222-0000-4000-8000-000000000002")
			return t
		}, "virtualMachineScaleSets/read"},
		"on the scale set only": {func(t template) template {
			nested(t)["scope"] = "[resourceId('Microsoft.Compute/virtualMachineScaleSets', 'tidegate-agents')]"
			return t
		}, "virtualMachineScaleSets/read"},
		"in a subscription where the role may not be assigned": {func(t template) template {
			assignment(t)["subscriptionId"] = "[subscription().subscriptionId]"
			nested(t)["name"] = "[guid(parameters('principalId'))]"
			return t
		}, "may not be assigned there"},
		"a name that is no GUID": {func(t template) template {
			nested(t)["name"] = "tidegate"
			return t
		}, "its name is no GUID"},
		"before the server is there": {func(t template) template {
			delete(assignment(t), "dependsOn")
			return t
		}, "virtualMachines/tidegate-server is not deployed"},
		"a server without an identity": {func(t template) template {
			for _, r := range t.Resources {
				if r["type"] == virtualMachines {
					delete(r, "identity")
				}
			}
			return t
		}, "has nothing to refer to"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := tc.change(parsed(t)).emulated(given(nil))
			if err == nil {
				err = life(t.Context(), config)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("it ends with %v, want %q", err, tc.want)
			}
		})
	}
}

// Without any one of its actions the role is not enough.
func TestRoleHasNoActionTooMany(t *testing.T) {
	actions, err := RoleActions()
	if err != nil {
		t.Fatal(err)
	}
	for i, action := range actions {
		t.Run(strings.ReplaceAll(action, "/", " "), func(t *testing.T) {
			t.Parallel()
			config, err := Emulated(given(nil))
			if err != nil {
				t.Fatal(err)
			}
			config.Roles[0].Actions = slices.Delete(slices.Clone(actions), i, i+1)
			if err := life(t.Context(), config); err == nil || !strings.Contains(err.Error(), action) {
				t.Errorf("without it: %v, want a refusal that names it", err)
			}
		})
	}
}
