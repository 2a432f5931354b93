package azuretemplate

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/tidegate-k3s/tidegate/api"
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

// at walks down a JSON value.
func at(v any, path ...string) any {
	for _, key := range path {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
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
		if got := at(set, strings.Split(path, ".")...); got != want {
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

// What the page has people write on a server is what the template's server has,
// and k3s does not start without it, neither at first nor after a reboot.
func TestServersKeepPodsFromTheirIdentity(t *testing.T) {
	var cloudInit struct {
		WriteFiles []struct {
			Path, Content string
		} `json:"write_files"`
		Runcmd []string
	}
	text, err := os.ReadFile("cloud-init/server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &cloudInit); err != nil {
		t.Fatal(err)
	}
	unit := ""
	for _, f := range cloudInit.WriteFiles {
		if f.Path == "/etc/systemd/system/imds-for-the-host.service" {
			unit = f.Content
		}
	}
	for _, line := range []string{"Before=k3s.service", "RequiredBy=k3s.service", "ExecStart=iptables -w -t raw -I PREROUTING -d 169.254.169.254 -j DROP"} {
		if !strings.Contains(unit, line+"\n") {
			t.Errorf("the unit has no line %q:\n%s", line, unit)
		}
	}
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	if unit == "" || !strings.Contains(string(page), unit+"EOF\n") {
		t.Errorf("docs/install.md has another unit than cloud-init:\n%s", unit)
	}
	if len(cloudInit.Runcmd) != 1 || !strings.HasPrefix(cloudInit.Runcmd[0], "systemctl enable --now imds-for-the-host.service && ") {
		t.Errorf("k3s is installed although the rule may be missing: %q", cloudInit.Runcmd)
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
	rules, _ := at(only(t, "Microsoft.Network/networkSecurityGroups"), "properties", "securityRules").([]any)
	if len(rules) != 1 || at(rules[0], "properties", "sourceAddressPrefix") != "[parameters('sshFrom')]" || at(rules[0], "properties", "destinationPortRange") != "22" {
		t.Errorf("the rules are %v, want SSH from sshFrom alone", rules)
	}
	server := only(t, "Microsoft.Network/networkInterfaces")
	configurations, _ := at(server, "properties", "ipConfigurations").([]any)
	for what, got := range map[string]any{
		"public address": at(configurations[0], "properties", "publicIPAddress"),
		"security group": at(server, "properties", "networkSecurityGroup"),
	} {
		if text, _ := got.(string); !strings.HasPrefix(text, "[if(empty(parameters('sshFrom')), null(), ") {
			t.Errorf("the server's %s is %v, want none without sshFrom", what, got)
		}
	}
}

func TestRoleAssignment(t *testing.T) {
	assignment := only(t, "Microsoft.Authorization/roleAssignments")
	if name, _ := assignment["name"].(string); !strings.HasPrefix(name, "[guid(resourceGroup().id,") || strings.Contains(name, "reference(") {
		t.Errorf("its name is %s, want a guid of what is known before the deployment", name)
	}
	if got := at(assignment, "properties", "principalType"); got != "ServicePrincipal" {
		t.Errorf("principal type %v: without ServicePrincipal a new identity is not found in time", got)
	}
	if role, _ := parsed(t).Variables["virtualMachineContributor"].(string); !strings.Contains(role, vmContributor) {
		t.Errorf("the built-in role is %s", role)
	}
	if assignment["scope"] != nil {
		t.Errorf("it is scoped to %v, want the resource group of the deployment", assignment["scope"])
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

// The two files say the same, as far as text can tell: parameters, resources
// with their versions, every plain text, and the outputs.
func TestBicepIsTheSame(t *testing.T) {
	bicep := ""
	for _, file := range []string{"main.bicep", "subscription-reader.bicep"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bicep += regexp.MustCompile(`(?m)^\s*//.*$`).ReplaceAllString(string(text), "")
	}
	all := func(pattern, in string) map[string]bool {
		set := map[string]bool{}
		for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(in, -1) {
			set[strings.Join(found[1:], " ")] = true
		}
		return set
	}
	got := all(`(?m)^param (\w+) `, bicep)
	want := map[string]bool{"name": true, "principalId": true}
	for name := range parsed(t).Parameters {
		want[name] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parameters (-json +bicep):\n%s", diff)
	}
	// A nested deployment is Bicep's module.
	declared := all(`"type": "(Microsoft\.[^"]+)",\s*"apiVersion": "([^"]+)"`, string(text))
	delete(declared, "Microsoft.Resources/deployments 2024-03-01")
	if diff := cmp.Diff(declared, all(`resource \w+ '([^@]+)@([^']+)'`, bicep)); diff != "" {
		t.Errorf("resources (-json +bicep):\n%s", diff)
	}
	for literal := range all(`'([A-Za-z0-9./_-]{3,})'`, bicep) {
		if !strings.Contains(string(text), literal) && !strings.HasSuffix(literal, ".yaml") && !strings.HasSuffix(literal, ".bicep") && literal != "subscription" {
			t.Errorf("Bicep says %q, the JSON does not", literal)
		}
	}
	for literal := range all(`": "([A-Za-z0-9./_-]{3,})"`, string(text)) {
		if !strings.Contains(bicep, literal) && !slices.Contains([]string{"securestring", "1.0.0.0", "Incremental", "inner", "2024-03-01", "Microsoft.Resources/deployments"}, literal) {
			t.Errorf("the JSON says %q, Bicep does not", literal)
		}
	}
}

func TestEmulatedIsWhatIsDeclared(t *testing.T) {
	config, err := Emulated(map[string]any{"currentAgents": 2, "maxAgents": 7, "prefix": "night"})
	if err != nil {
		t.Fatal(err)
	}
	set := config.ScaleSets[0]
	if set.Name != "night-agents" || set.Size != "Standard_D8s_v5" || set.Capacity != 2 || set.Spot || set.TerminateNotice.Minutes() != 5 || !strings.HasSuffix(set.Subnet, "/resourceGroups/tidegate/providers/Microsoft.Network/virtualNetworks/night/subnets/machines") {
		t.Errorf("the set is %+v", set)
	}
	want := api.PoolSettings{
		Enabled: new(true), Max: 7, MaxSurge: api.Share{Machines: api.DefaultMaxSurge}, Labels: map[string]string{},
		// Else nothing is bought before the first machine was started by hand.
		Resources: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("29Gi")},
	}
	if settings, err := api.ParsePoolTags(set.Tags); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(want, settings); diff != "" {
		t.Errorf("what the tags say (-want +got):\n%s", diff)
	}
	if config.Master.Name != "night-server" || config.SystemAssigned != nil {
		t.Errorf("master %+v, system-assigned %v", config.Master, config.SystemAssigned)
	}

	spot, err := Emulated(map[string]any{"currentAgents": 0, "spot": true, "identity": "UserAssigned", "customRole": false})
	if err != nil {
		t.Fatal(err)
	}
	if set := spot.ScaleSets[0]; !set.Spot || set.TerminateNotice.Duration != 0 {
		t.Errorf("the Spot set is %+v, want no termination notice", set)
	}
	if *spot.SystemAssigned || spot.UserAssigned[0].Name != "tidegate" || spot.Roles[0].Role == "" || spot.Roles[0].Identity != "tidegate" {
		t.Errorf("identities %+v, roles %+v", spot.UserAssigned, spot.Roles)
	}
	if _, err := Emulated(nil); err == nil || !strings.Contains(err.Error(), "parameter currentAgents has no value") {
		t.Errorf("without the number of agents: %v", err)
	}
}

func TestExpressions(t *testing.T) {
	e := evaluator{group: "/g", parameters: map[string]any{"yes": true, "n": 3}, variables: map[string]any{"greeting": "[format('{0}-{1}', 'a', parameters('n'))]"}}
	for expression, want := range map[string]any{
		"plain":                                   "plain",
		"[variables('greeting')]":                 "a-3",
		"[if(parameters('yes'), 'x', null())]":    "x",
		"[string(parameters('n'))]":               "3",
		"[if( parameters('yes') , null(), 'x' )]": nil,
		"[resourceId('P/nets/subnets','a','b')]":  "/g/providers/P/nets/a/subnets/b",
	} {
		got, err := e.value(expression)
		if err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s is %v, %v, want %v", expression, got, err, want)
		}
	}
	for expression, want := range map[string]string{
		"[unknown()]":                    "is not known here",
		"[resourceId('P/nets','a','b')]": "has 2 names",
		"['a]":                           "has no end",
		"[parameters('no')]":             "has no value",
		"['a' 'b']":                      "is left",
		"[a]":                            "no call",
		"[]":                             "no call",
	} {
		got, err := e.value(expression)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want an error with %q", expression, got, err, want)
		}
	}
}
