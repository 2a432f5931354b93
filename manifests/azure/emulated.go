package azuretemplate

import (
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// Emulated is the subscription as it is after a deployment with these
// parameters: its scale sets, its master, the master's identities and what these
// may do. It is an error if Azure would refuse the deployment, as far as that
// can be told here.
func Emulated(parameters map[string]any) (emulator.Config, error) {
	t, err := parse()
	if err != nil {
		return emulator.Config{}, err
	}
	config, err := t.emulated(parameters)
	if err != nil {
		return config, fmt.Errorf("main.json: %w", err)
	}
	return config, nil
}

func (t template) emulated(parameters map[string]any) (emulator.Config, error) {
	to := scope{subscription: "00000000-0000-4000-8000-000000000001", group: "tidegate", location: "westeurope"}
	config := emulator.Config{SubscriptionID: to.subscription, ResourceGroup: to.group, Location: to.location}
	var d deployment
	if err := d.deploy(t, parameters, to); err != nil {
		return config, err
	}
	for _, r := range d.resources {
		switch r.kind {
		case scaleSets:
			set, err := scaleSet(r)
			if err != nil {
				return config, fmt.Errorf("%s: %w", r.id, err)
			}
			config.ScaleSets = append(config.ScaleSets, set)
		case virtualMachines:
			if err := d.master(r, &config); err != nil {
				return config, fmt.Errorf("%s: %w", r.id, err)
			}
		}
	}
	return config, d.roles(&config)
}

// master reads the server and who it is.
func (d *deployment) master(r resource, config *emulator.Config) error {
	var body struct {
		Identity struct {
			Type         string         `json:"type"`
			UserAssigned map[string]any `json:"userAssignedIdentities"`
		} `json:"identity"`
		Properties struct {
			HardwareProfile struct {
				VMSize string `json:"vmSize"`
			} `json:"hardwareProfile"`
		} `json:"properties"`
	}
	if err := convert(r.body, &body); err != nil {
		return err
	}
	config.Master = emulator.Master{Name: r.name, Size: body.Properties.HardwareProfile.VMSize}
	system := body.Identity.Type == "SystemAssigned"
	config.SystemAssigned = &system
	for id := range body.Identity.UserAssigned {
		identity, err := d.find(id)
		if err != nil {
			return err
		}
		config.UserAssigned = append(config.UserAssigned, emulator.Identity{
			Name: identity.name, ResourceID: id, ObjectID: principalOf(id), ClientID: madeUp("client", id),
		})
	}
	return nil
}

// builtIn are the built-in roles that the emulator knows, by their numbers.
// Source: Azure documentation, "Azure built-in roles".
var builtIn = map[string]string{
	"9980e02c-c2be-4d73-94e8-173b1dc7cf3c": emulator.VirtualMachineContributor,
	"acdd72a7-3385-48ef-bd42-f606fba81ae7": "Reader",
}

// roles reads what the role assignments let the identities do.
func (d *deployment) roles(config *emulator.Config) error {
	identities := map[string]string{} // by principal
	for _, r := range d.resources {
		switch r.kind {
		case virtualMachines:
			identities[principalOf(r.id)] = emulator.SystemAssignedName
		case userAssignedIdentities:
			identities[principalOf(r.id)] = r.name
		}
	}
	config.Roles = []emulator.RoleAssignment{} // what is not assigned is not allowed
	for _, r := range d.resources {
		if r.kind != roleAssignments {
			continue
		}
		var properties struct {
			RoleDefinitionID string `json:"roleDefinitionId"`
			PrincipalID      string `json:"principalId"`
		}
		if err := convert(r.body["properties"], &properties); err != nil {
			return err
		}
		assigned := emulator.RoleAssignment{Identity: identities[properties.PrincipalID], Scope: r.scope, Role: builtIn[path.Base(properties.RoleDefinitionID)]}
		if assigned.Role == "" {
			definition, err := d.find(properties.RoleDefinitionID)
			if err != nil {
				return err
			}
			scopes, _ := found(definition.body, "properties", "assignableScopes").([]any)
			if !slices.ContainsFunc(scopes, func(s any) bool { return r.scope == s || strings.HasPrefix(r.scope, fmt.Sprint(s, "/")) }) {
				return fmt.Errorf("%s: the role may not be assigned there", r.id)
			}
			if assigned.Actions, err = actionsOf(definition.body); err != nil {
				return err
			}
		}
		config.Roles = append(config.Roles, assigned)
	}
	return nil
}

// scaleSet reads one scale set.
func scaleSet(r resource) (emulator.ScaleSet, error) {
	type subnet struct {
		ID string `json:"id"`
	}
	var body struct {
		Tags  map[string]string `json:"tags"`
		Zones []string          `json:"zones"`
		SKU   struct {
			Name     string `json:"name"`
			Capacity int    `json:"capacity"`
		} `json:"sku"`
		Properties struct {
			OrchestrationMode     string `json:"orchestrationMode"`
			VirtualMachineProfile struct {
				Priority  string `json:"priority"`
				OSProfile struct {
					CustomData string `json:"customData"`
				} `json:"osProfile"`
				ScheduledEventsProfile struct {
					TerminateNotificationProfile struct {
						NotBeforeTimeout string `json:"notBeforeTimeout"`
					} `json:"terminateNotificationProfile"`
				} `json:"scheduledEventsProfile"`
				NetworkProfile struct {
					NetworkInterfaceConfigurations []struct {
						Properties struct {
							IPConfigurations []struct {
								Properties struct {
									Subnet subnet `json:"subnet"`
								} `json:"properties"`
							} `json:"ipConfigurations"`
						} `json:"properties"`
					} `json:"networkInterfaceConfigurations"`
				} `json:"networkProfile"`
			} `json:"virtualMachineProfile"`
		} `json:"properties"`
	}
	if err := convert(r.body, &body); err != nil {
		return emulator.ScaleSet{}, err
	}
	profile := body.Properties.VirtualMachineProfile
	set := emulator.ScaleSet{
		Name: r.name, Size: body.SKU.Name, Capacity: body.SKU.Capacity, Tags: body.Tags, Zones: body.Zones,
		Spot: profile.Priority == "Spot", Flexible: body.Properties.OrchestrationMode != "Uniform",
	}
	for _, card := range profile.NetworkProfile.NetworkInterfaceConfigurations {
		for _, ip := range card.Properties.IPConfigurations {
			set.Subnet = ip.Properties.Subnet.ID
		}
	}
	if set.Subnet == "" {
		return set, errors.New("it has no subnet")
	}
	if text := profile.ScheduledEventsProfile.TerminateNotificationProfile.NotBeforeTimeout; text != "" {
		notice, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(text, "PT")))
		if err != nil {
			return set, err
		}
		set.TerminateNotice = metav1.Duration{Duration: notice}
	}
	k3s, err := k3sConfig(profile.OSProfile.CustomData)
	for _, taint := range k3s.Taints {
		key, effect, _ := strings.Cut(taint, ":")
		key, value, _ := strings.Cut(key, "=")
		set.Node.Taints = append(set.Node.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
	}
	return set, err
}

// agentConfig is the part of k3s' configuration that is read here.
type agentConfig struct {
	Token      string   `json:"token"`
	AgentToken string   `json:"agent-token"`
	Taints     []string `json:"node-taint"`
}

// k3sConfig reads the configuration that cloud-init writes for k3s.
func k3sConfig(customData string) (config agentConfig, err error) {
	text, err := base64.StdEncoding.DecodeString(customData)
	if err != nil {
		return config, fmt.Errorf("custom data: %w", err)
	}
	var cloudInit struct {
		WriteFiles []struct {
			Path    string `json:"path"`
			Content string `json:"content"`
		} `json:"write_files"`
	}
	if err := yaml.Unmarshal(text, &cloudInit); err != nil {
		return config, fmt.Errorf("cloud-init: %w", err)
	}
	for _, f := range cloudInit.WriteFiles {
		if f.Path == "/etc/rancher/k3s/config.yaml" {
			return config, yaml.Unmarshal([]byte(f.Content), &config)
		}
	}
	return config, errors.New("cloud-init writes no configuration for k3s")
}
