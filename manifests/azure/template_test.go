package azuretemplate

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// vmContributor is Azure's number of the built-in role Virtual Machine
// Contributor. Source: Azure documentation, "Azure built-in roles for Compute".
const vmContributor = "9980e02c-c2be-4d73-94e8-173b1dc7cf3c"

func parsed(t *testing.T) template {
	t.Helper()
	parsed, err := parse()
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// given are parameters with those that have no default.
func given(parameters map[string]any) map[string]any {
	all := map[string]any{"currentAgents": 0, "k3sVersion": "v1.37.2+k3s1", "sshPublicKey": "ssh-ed25519 KEY", "serverToken": "server-secret", "agentToken": "agent-secret"}
	maps.Copy(all, parameters)
	return all
}

// only returns the template's resource of that type.
func only(t *testing.T, kind string) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, r := range parsed(t).Resources {
		if r["type"] == kind {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the template has %d resources of type %s, want one", len(found), kind)
	}
	return found[0]
}

func TestScaleSet(t *testing.T) {
	set := only(t, scaleSets)
	for path, want := range map[string]any{
		"properties.orchestrationMode":                    "Uniform",
		"properties.overprovision":                        false,
		"properties.singlePlacementGroup":                 false,
		"properties.virtualMachineProfile.priority":       "[if(parameters('spot'), 'Spot', 'Regular')]",
		"properties.virtualMachineProfile.evictionPolicy": "[if(parameters('spot'), 'Delete', null())]",
		"sku.capacity":  "[parameters('currentAgents')]",
		"tags.tidegate": "enabled",
	} {
		if got := found(set, strings.Split(path, ".")...); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	// A default would set the number of machines back when the template is
	// deployed again.
	if p := parsed(t).Parameters["currentAgents"]; p.DefaultValue != nil {
		t.Errorf("currentAgents has the default %v", p.DefaultValue)
	}
}

// A machine of the pool never sees the server's token, which is worth the whole
// cluster, and no secret has a default.
func TestTokens(t *testing.T) {
	set, err := json.Marshal(only(t, scaleSets))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(set), "serverToken") || !strings.Contains(string(set), "agentToken") {
		t.Error("the agents' machines do not join with the agents' token alone")
	}
	for name, p := range parsed(t).Parameters {
		if strings.HasSuffix(name, "Token") && (p.Type != "securestring" || p.DefaultValue != nil) {
			t.Errorf("parameter %s is a %s with default %v, want a securestring without", name, p.Type, p.DefaultValue)
		}
	}
	for variable, file := range map[string]string{"serverCloudInit": "cloud-init/server.yaml", "agentCloudInit": "cloud-init/agent.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), parsed(t).Variables[variable]); diff != "" {
			t.Errorf("variable %s and %s (-file +variable):\n%s", variable, file, diff)
		}
	}
}

// Pods reach the metadata service neither on the server, whose identity they
// could use, nor on agents, where they could approve what Azure announces. k3s
// does not start without the rule, neither at first nor after a reboot, and no
// firewall that loads its rules takes it away. The page has people write the
// server's unit.
func TestPodsAreKeptFromTheMetadataService(t *testing.T) {
	units := map[string]string{}
	for file, service := range map[string]string{"server": "k3s.service", "agent": "k3s-agent.service"} {
		var cloudInit struct {
			WriteFiles []struct {
				Path, Content string
			} `json:"write_files"`
			Runcmd []string
		}
		text, err := os.ReadFile("cloud-init/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &cloudInit); err != nil {
			t.Fatal(err)
		}
		for _, f := range cloudInit.WriteFiles {
			if f.Path == "/etc/systemd/system/imds-for-the-host.service" {
				units[file] = f.Content
			}
		}
		for _, line := range []string{"After=network-pre.target", "Before=" + service, "RequiredBy=" + service, "ExecStart=iptables -w -t raw -I PREROUTING -d 169.254.169.254 -j DROP"} {
			if !strings.Contains(units[file], line+"\n") {
				t.Errorf("the unit of the %s has no line %q:\n%s", file, line, units[file])
			}
		}
		if len(cloudInit.Runcmd) != 1 || !strings.HasPrefix(cloudInit.Runcmd[0], "systemctl enable --now imds-for-the-host.service && ") {
			t.Errorf("k3s is installed on the %s although the rule may be missing: %q", file, cloudInit.Runcmd)
		}
	}
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	if units["server"] == "" || !strings.Contains(string(page), units["server"]+"EOF\n") {
		t.Errorf("docs/install.md has another unit than cloud-init:\n%s", units["server"])
	}
}

// page is docs/azure.md.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/azure.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The role that the page has people define is the template's.
func TestPageDefinesTheRole(t *testing.T) {
	_, definition, found := strings.Cut(page(t), "--role-definition '")
	definition, _, closed := strings.Cut(definition, "'\n")
	if !found || !closed {
		t.Fatal("docs/azure.md defines no role")
	}
	var role struct{ Actions []string }
	if err := json.Unmarshal([]byte(definition), &role); err != nil {
		t.Fatal(err)
	}
	actions, err := RoleActions()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(actions, role.Actions); diff != "" {
		t.Errorf("actions (-template +docs/azure.md):\n%s", diff)
	}
}

// The page names parameters and outputs that there are, and every parameter that
// has no default.
func TestPageNamesTheParameters(t *testing.T) {
	_, text, found := strings.Cut(page(t), "## A template\n")
	if !found {
		t.Fatal("docs/azure.md does not speak of the template")
	}
	parameters := parsed(t).Parameters
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(text, -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			if _, there := parameters[strings.Trim(name, "`")]; !there {
				t.Errorf("the page has a row for %s, which is no parameter", name)
			}
		}
	}
	for name, p := range parameters {
		if p.DefaultValue == nil && !strings.Contains(text, name+"=") {
			t.Errorf("the page's command does not give %s, which has no default", name)
		}
	}
	for _, match := range regexp.MustCompile("the output `(\\w+)`").FindAllStringSubmatch(text, -1) {
		if _, there := parsed(t).Outputs[match[1]]; !there {
			t.Errorf("the page speaks of the output %s, which is none", match[1])
		}
	}
}

// Nobody outside of the network reaches the server unless its addresses are named.
func TestServerIsClosedByDefault(t *testing.T) {
	if p := parsed(t).Parameters["sshFrom"]; p.DefaultValue != "" {
		t.Errorf("sshFrom has the default %q, want none", p.DefaultValue)
	}
	for _, kind := range []string{"Microsoft.Network/networkSecurityGroups", "Microsoft.Network/publicIPAddresses"} {
		if got := only(t, kind)["condition"]; got != "[not(empty(parameters('sshFrom')))]" {
			t.Errorf("there is a %s if %v, want only with sshFrom", kind, got)
		}
	}
	rules, _ := found(only(t, "Microsoft.Network/networkSecurityGroups"), "properties", "securityRules").([]any)
	if len(rules) != 1 || found(rules[0], "properties", "sourceAddressPrefix") != "[parameters('sshFrom')]" || found(rules[0], "properties", "destinationPortRange") != "22" {
		t.Errorf("the rules are %v, want SSH from sshFrom alone", rules)
	}
	server := only(t, "Microsoft.Network/networkInterfaces")
	configurations, _ := found(server, "properties", "ipConfigurations").([]any)
	for what, got := range map[string]any{
		"public address": found(configurations[0], "properties", "publicIPAddress"),
		"security group": found(server, "properties", "networkSecurityGroup"),
	} {
		if text, _ := got.(string); !strings.HasPrefix(text, "[if(empty(parameters('sshFrom')), null(), ") {
			t.Errorf("the server's %s is %v, want none without sshFrom", what, got)
		}
	}
}

// deployed is what a deployment with these parameters makes.
func deployed(t *testing.T, parameters map[string]any) []resource {
	t.Helper()
	var d deployment
	if err := d.deploy(parsed(t), given(parameters), scope{subscription: "s", group: "g", location: "westeurope"}); err != nil {
		t.Fatal(err)
	}
	return d.resources
}

// assignments are the role assignments among the resources, by name.
func assignments(resources []resource) map[string]resource {
	found := map[string]resource{}
	for _, r := range resources {
		if r.kind == roleAssignments {
			found[r.name] = r
		}
	}
	return found
}

// Deployed again it is the same assignment; another identity or another role has
// one of its own, so that none is in the way of the next.
func TestRoleAssignment(t *testing.T) {
	names := map[string]bool{}
	variants := []map[string]any{{}, {"identity": "UserAssigned"}, {"customRole": false}, {"prefix": "night"}}
	for _, parameters := range variants {
		first, again := assignments(deployed(t, parameters)), assignments(deployed(t, parameters))
		if len(first) != 1 {
			t.Fatalf("with %v there are %d assignments, want one", parameters, len(first))
		}
		for name, r := range first {
			if _, same := again[name]; !same {
				t.Errorf("with %v the name is another one the second time", parameters)
			}
			names[name] = true
			if got := found(r.body, "properties", "principalType"); got != "ServicePrincipal" {
				t.Errorf("principal type %v: without ServicePrincipal a new identity is not found in time", got)
			}
			if want := "/subscriptions/s/resourceGroups/g"; r.scope != want {
				t.Errorf("it is scoped to %s, want the resource group of the deployment", r.scope)
			}
			if got, _ := found(r.body, "properties", "roleDefinitionId").(string); parameters["customRole"] == false && got != "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/"+vmContributor {
				t.Errorf("the built-in role is %s", got)
			}
		}
	}
	if len(names) != len(variants) {
		t.Errorf("%d names for %d different assignments", len(names), len(variants))
	}
	if got := len(assignments(deployed(t, map[string]any{"subscriptionReader": true}))); got != 2 {
		t.Errorf("with the reading role there are %d assignments, want two", got)
	}
}

// What cloud-init writes is filled in.
func TestCloudInitIsFilledIn(t *testing.T) {
	for _, r := range deployed(t, nil) {
		profile := found(r.body, "properties", "osProfile")
		if r.kind == scaleSets {
			profile = found(r.body, "properties", "virtualMachineProfile", "osProfile")
		}
		if profile == nil {
			continue
		}
		data, _ := found(profile, "customData").(string)
		text, err := base64.StdEncoding.DecodeString(data)
		if err != nil || len(text) == 0 {
			t.Fatalf("%s has the custom data %q: %v", r.id, data, err)
		}
		if left := regexp.MustCompile(`[A-Z0-9]+_(TOKEN|ADDRESS|VERSION)[^=]`).Find(text); left != nil {
			t.Errorf("%s: %s is not filled in:\n%s", r.id, left, text)
		}
		config, err := k3sConfig(data)
		want := agentConfig{Token: "server-secret", AgentToken: "agent-secret"}
		if r.kind == scaleSets {
			want = agentConfig{Token: "agent-secret", Taints: []string{api.StartupTaint + ":NoSchedule"}}
		}
		if diff := cmp.Diff(want, config); diff != "" || err != nil {
			t.Errorf("%s: %v, k3s' configuration (-want +got):\n%s", r.id, err, diff)
		}
	}
}

// A resource depends on what is declared, and on all of it that it names: Azure
// makes resources in any order otherwise.
func TestDependencies(t *testing.T) {
	typesIn := func(value any) []string {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, found := range regexp.MustCompile(`\bresourceId\('([^']+)'`).FindAllStringSubmatch(string(text), -1) {
			types = append(types, found[1])
		}
		slices.Sort(types)
		return slices.Compact(types)
	}
	declared := map[string]bool{}
	for _, r := range parsed(t).Resources {
		declared[r["type"].(string)] = true
	}
	for _, r := range parsed(t).Resources {
		dependencies := typesIn(r["dependsOn"])
		for _, d := range dependencies {
			if !declared[d] {
				t.Errorf("%s depends on a %s, which the template does not declare", r["type"], d)
			}
		}
		delete(r, "dependsOn")
		for _, named := range typesIn(r) {
			// A subnet comes with its network, whose type its own begins with.
			if !slices.ContainsFunc(dependencies, func(d string) bool { return named == d || strings.HasPrefix(named, d+"/") }) {
				t.Errorf("%s names a %s and does not depend on it", r["type"], named)
			}
		}
	}
}

func TestEmulatedIsWhatIsDeclared(t *testing.T) {
	config, err := Emulated(given(map[string]any{"currentAgents": 2, "maxAgents": 7, "prefix": "night"}))
	if err != nil {
		t.Fatal(err)
	}
	set := config.ScaleSets[0]
	if set.Name != "night-agents" || set.Size != "Standard_D8s_v5" || set.Capacity != 2 || set.Spot || set.Flexible || set.TerminateNotice.Minutes() != 5 || !strings.HasSuffix(set.Subnet, "/resourceGroups/tidegate/providers/Microsoft.Network/virtualNetworks/night/subnets/machines") {
		t.Errorf("the set is %+v", set)
	}
	if diff := cmp.Diff([]corev1.Taint{{Key: api.StartupTaint, Effect: corev1.TaintEffectNoSchedule}}, set.Node.Taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
	want := api.PoolSettings{
		Enabled: new(true), Max: 7, MaxSurge: api.Share{Machines: api.DefaultMaxSurge}, Labels: map[string]string{},
		// Else nothing is bought before the first machine was started by hand.
		Resources: corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("8"), corev1.ResourceMemory: apiresource.MustParse("29Gi")},
	}
	if settings, err := api.ParsePoolTags(set.Tags); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(want, settings); diff != "" {
		t.Errorf("what the tags say (-want +got):\n%s", diff)
	}
	if config.Master.Name != "night-server" || config.Master.Size != "Standard_D2s_v5" || !*config.SystemAssigned || len(config.UserAssigned) != 0 {
		t.Errorf("master %+v, system-assigned %v, user-assigned %v", config.Master, *config.SystemAssigned, config.UserAssigned)
	}
	actions, err := RoleActions()
	if err != nil {
		t.Fatal(err)
	}
	group := "/subscriptions/" + config.SubscriptionID + "/resourceGroups/tidegate"
	if diff := cmp.Diff([]emulator.RoleAssignment{{Identity: emulator.SystemAssignedName, Scope: group, Actions: actions}}, config.Roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}

	spot, err := Emulated(given(map[string]any{"spot": true, "identity": "UserAssigned", "customRole": false, "subscriptionReader": true}))
	if err != nil {
		t.Fatal(err)
	}
	if set := spot.ScaleSets[0]; !set.Spot || set.TerminateNotice.Duration != 0 {
		t.Errorf("the Spot set is %+v, want no termination notice", set)
	}
	if *spot.SystemAssigned || len(spot.UserAssigned) != 1 || spot.UserAssigned[0].Name != "tidegate" {
		t.Errorf("system-assigned %v, user-assigned %+v", *spot.SystemAssigned, spot.UserAssigned)
	}
	if diff := cmp.Diff([]emulator.RoleAssignment{
		{Identity: "tidegate", Scope: "/subscriptions/" + spot.SubscriptionID, Role: "Reader"},
		{Identity: "tidegate", Scope: group, Role: emulator.VirtualMachineContributor},
	}, spot.Roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}

	if _, err := Emulated(nil); err == nil || !strings.Contains(err.Error(), "has no value") {
		t.Errorf("without what has no default: %v", err)
	}
	if _, err := Emulated(given(map[string]any{"agents": 3})); err == nil || !strings.Contains(err.Error(), "there is no parameter agents") {
		t.Errorf("with a parameter that there is not: %v", err)
	}
}

// Azure knows every property of the machines, by the types of its own library:
// what those do not have is lost on the way through them.
func TestAzureKnowsTheProperties(t *testing.T) {
	for _, parameters := range []map[string]any{{}, {"spot": true, "identity": "UserAssigned", "sshFrom": "203.0.113.7/32"}} {
		for _, r := range deployed(t, parameters) {
			var typed any
			switch r.kind {
			case scaleSets:
				typed = &armcompute.VirtualMachineScaleSet{}
			case virtualMachines:
				typed = &armcompute.VirtualMachine{}
			default:
				continue
			}
			declared := r.body
			for _, ofTemplates := range []string{"apiVersion", "dependsOn"} {
				delete(declared, ofTemplates)
			}
			if err := convert(declared, typed); err != nil {
				t.Fatal(err)
			}
			var known map[string]any
			if err := convert(typed, &known); err != nil {
				t.Fatal(err)
			}
			if err := convert(withoutNulls(declared), &declared); err != nil { // numbers are alike then
				t.Fatal(err)
			}
			if diff := cmp.Diff(withoutNulls(declared), known); diff != "" {
				t.Errorf("%s (-declared +known):\n%s", r.id, diff)
			}
		}
	}
	for value, possible := range map[string]any{
		"Uniform": armcompute.PossibleOrchestrationModeValues(), "Spot": armcompute.PossibleVirtualMachinePriorityTypesValues(),
		"Regular": armcompute.PossibleVirtualMachinePriorityTypesValues(), "Delete": armcompute.PossibleVirtualMachineEvictionPolicyTypesValues(),
		"Manual": armcompute.PossibleUpgradeModeValues(), "FromImage": armcompute.PossibleDiskCreateOptionTypesValues(),
	} {
		if !strings.Contains(fmt.Sprint(possible), value) {
			t.Errorf("%s is none of %v", value, possible)
		}
	}
}

// withoutNulls leaves out what is null, which for Azure is not there.
func withoutNulls(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	clean := map[string]any{}
	for key, item := range object {
		if item != nil {
			clean[key] = withoutNulls(item)
		}
	}
	return clean
}
