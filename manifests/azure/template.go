// Package azuretemplate reads the deployment template beside it, so that tests
// run on what the template declares.
package azuretemplate

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed main.json
var text []byte

// Resource types that are read here.
const (
	scaleSets              = "Microsoft.Compute/virtualMachineScaleSets"
	virtualMachines        = "Microsoft.Compute/virtualMachines"
	userAssignedIdentities = "Microsoft.ManagedIdentity/userAssignedIdentities"
	publicAddresses        = "Microsoft.Network/publicIPAddresses"
	roleDefinitions        = "Microsoft.Authorization/roleDefinitions"
	roleAssignments        = "Microsoft.Authorization/roleAssignments"
	deployments            = "Microsoft.Resources/deployments"
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
		if r["type"] == roleDefinitions {
			return actionsOf(r)
		}
	}
	return nil, fmt.Errorf("main.json has no %s", roleDefinitions)
}

// actionsOf are the actions of a role's definition.
func actionsOf(definition map[string]any) ([]string, error) {
	var actions []string
	var properties struct {
		Permissions []struct {
			Actions []string `json:"actions"`
		} `json:"permissions"`
	}
	if err := convert(definition["properties"], &properties); err != nil {
		return nil, err
	}
	for _, p := range properties.Permissions {
		actions = append(actions, p.Actions...)
	}
	return actions, nil
}

func convert(from, into any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
