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
	if len(config.UserAssigned) > 0 {
		config.UserAssigned[0].ClientID = "11111111-0000-4000-8000-000000000001"
	}
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
		"spot":                   {"spot": true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // Azure's answers take seconds
			parameters["currentAgents"] = 0
			config, err := Emulated(parameters)
			if err != nil {
				t.Fatal(err)
			}
			if err := life(t.Context(), config); err != nil {
				t.Error(err)
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
			config, err := Emulated(map[string]any{"currentAgents": 0})
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
