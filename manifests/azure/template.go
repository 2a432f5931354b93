// Package azuretemplate reads the deployment template beside it, so that tests
// run on what the template declares.
package azuretemplate

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

//go:embed main.json
var text []byte

// Resource types that are read here.
const (
	scaleSets       = "Microsoft.Compute/virtualMachineScaleSets"
	virtualMachines = "Microsoft.Compute/virtualMachines"
	roles           = "Microsoft.Authorization/roleDefinitions"
)

// template is the part of a deployment template that is read here.
type template struct {
	Parameters map[string]struct {
		Type         string `json:"type"`
		DefaultValue any    `json:"defaultValue"`
	} `json:"parameters"`
	Variables map[string]any   `json:"variables"`
	Resources []map[string]any `json:"resources"`
	Outputs   map[string]any   `json:"outputs"`
}

func parse() (template, error) {
	var t template
	if err := json.Unmarshal(text, &t); err != nil {
		return t, fmt.Errorf("main.json: %w", err)
	}
	return t, nil
}

// RoleActions are the actions of the template's own role.
func RoleActions() ([]string, error) {
	t, err := parse()
	if err != nil {
		return nil, err
	}
	for _, r := range t.Resources {
		if r["type"] != roles {
			continue
		}
		var properties struct {
			Permissions []struct {
				Actions []string `json:"actions"`
			} `json:"permissions"`
		}
		if err := convert(r["properties"], &properties); err != nil {
			return nil, err
		}
		return properties.Permissions[0].Actions, nil
	}
	return nil, fmt.Errorf("main.json has no %s", roles)
}

// Emulated is the subscription as it is after a deployment with these
// parameters: its scale sets, its master, the identities and what they may do.
func Emulated(parameters map[string]any) (emulator.Config, error) {
	t, err := parse()
	if err != nil {
		return emulator.Config{}, err
	}
	config := emulator.Config{SubscriptionID: "00000000-0000-4000-8000-000000000001", ResourceGroup: "tidegate"}
	e := evaluator{
		parameters: map[string]any{}, variables: t.Variables,
		group: "/subscriptions/" + config.SubscriptionID + "/resourceGroups/" + config.ResourceGroup,
	}
	for name, p := range t.Parameters {
		if p.DefaultValue != nil {
			e.parameters[name] = p.DefaultValue
		}
	}
	maps.Copy(e.parameters, parameters)

	for _, r := range t.Resources {
		switch r["type"] {
		case scaleSets:
			set, err := e.scaleSet(r)
			if err != nil {
				return config, fmt.Errorf("main.json: %w", err)
			}
			config.ScaleSets = append(config.ScaleSets, set)
		case virtualMachines:
			name, err := e.value(r["name"])
			if err != nil {
				return config, fmt.Errorf("main.json: %w", err)
			}
			config.Master.Name = name.(string)
		}
	}
	return config, e.identity(&config)
}

// scaleSet reads one scale set's resource.
func (e evaluator) scaleSet(resource map[string]any) (emulator.ScaleSet, error) {
	// The rest speaks of what only Azure knows.
	read := map[string]any{"name": resource["name"], "tags": resource["tags"], "sku": resource["sku"], "zones": resource["zones"]}
	properties, _ := resource["properties"].(map[string]any)
	profile, _ := properties["virtualMachineProfile"].(map[string]any)
	for _, key := range []string{"priority", "evictionPolicy", "scheduledEventsProfile"} {
		read[key] = profile[key]
	}
	if read["subnet"] = found(profile, "networkProfile", "networkInterfaceConfigurations", "properties", "ipConfigurations", "properties", "subnet", "id"); read["subnet"] == nil {
		return emulator.ScaleSet{}, errors.New("the scale set has no subnet")
	}
	value, err := e.value(read)
	if err != nil {
		return emulator.ScaleSet{}, err
	}
	var r struct {
		Name   string            `json:"name"`
		Tags   map[string]string `json:"tags"`
		Zones  []string          `json:"zones"`
		Subnet string            `json:"subnet"`
		SKU    struct {
			Name     string `json:"name"`
			Capacity int    `json:"capacity"`
		} `json:"sku"`
		Priority               string `json:"priority"`
		ScheduledEventsProfile *struct {
			TerminateNotificationProfile struct {
				NotBeforeTimeout string `json:"notBeforeTimeout"`
			} `json:"terminateNotificationProfile"`
		} `json:"scheduledEventsProfile"`
	}
	if err := convert(value, &r); err != nil {
		return emulator.ScaleSet{}, err
	}
	set := emulator.ScaleSet{
		Name: r.Name, Size: r.SKU.Name, Capacity: r.SKU.Capacity, Tags: r.Tags, Zones: r.Zones,
		Subnet: r.Subnet, Spot: r.Priority == "Spot",
	}
	if s := r.ScheduledEventsProfile; s != nil {
		notice, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(s.TerminateNotificationProfile.NotBeforeTimeout, "PT")))
		if err != nil {
			return set, err
		}
		set.TerminateNotice = metav1.Duration{Duration: notice}
	}
	return set, nil
}

// identity reads who the master is, and what the template lets it do.
func (e evaluator) identity(config *emulator.Config) error {
	name := emulator.SystemAssignedName
	if e.parameters["identity"] == "UserAssigned" {
		name, _ = e.parameters["prefix"].(string)
		off := false
		config.SystemAssigned, config.UserAssigned = &off, []emulator.Identity{{Name: name}}
	}
	role := emulator.RoleAssignment{
		Identity: name, Role: emulator.VirtualMachineContributor,
		Scope: e.group,
	}
	if e.parameters["customRole"] == true {
		actions, err := RoleActions()
		if err != nil {
			return err
		}
		role.Role, role.Actions = "", actions
	}
	config.Roles = []emulator.RoleAssignment{role}
	return nil
}

// found walks down a JSON value, through the first item of each list.
func found(v any, path ...string) any {
	for _, key := range path {
		object, _ := v.(map[string]any)
		v = object[key]
		if list, ok := v.([]any); ok && len(list) > 0 {
			v = list[0]
		}
	}
	return v
}

func convert(from, into any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
