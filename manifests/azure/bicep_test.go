package azuretemplate

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The Bicep files and the JSON say the same: every parameter and output, and, for
// deployments that differ in each of them, every resource with all its properties.
// The Bicep is read by the little that is below; a compiler sees more.
func TestBicepIsTheSame(t *testing.T) {
	for name, parameters := range map[string]map[string]any{
		"as it is":       {},
		"the other ways": {"identity": "UserAssigned", "customRole": false, "subscriptionReader": true, "sshFrom": "203.0.113.7/32", "spot": true},
		"other values": {
			"prefix": "night", "location": "northeurope", "adminUsername": "somebody", "serverSize": "Standard_D4s_v5", "agentSize": "Standard_D16s_v5",
			"agentCpu": "16", "agentMemory": "59Gi", "currentAgents": 3, "minAgents": 1, "maxAgents": 9,
		},
	} {
		t.Run(name, func(t *testing.T) {
			to, parameters := scope{subscription: "s", group: "g", location: "westeurope"}, given(parameters)
			var d deployment
			if err := d.deploy(parsed(t), parameters, to); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{}
			for _, r := range d.resources {
				delete(r.body, "condition")
				delete(r.body, "dependsOn")
				want[r.id] = r.body
			}
			b := bicep{t: t, scope: to, given: parameters, deployed: &d, resources: map[string]any{}}
			b.run("main.bicep")
			if diff := cmp.Diff(want, b.resources); diff != "" {
				t.Errorf("resources (-json +bicep):\n%s", diff)
			}
			var declared struct{ Parameters, Outputs map[string]any }
			if err := json.Unmarshal(text, &declared); err != nil {
				t.Fatal(err)
			}
			e := evaluator{parameters: b.names, variables: parsed(t).Variables, scope: to, reference: d.reference}
			for what, compared := range map[string]struct{ json, bicep map[string]any }{
				"parameters": {declared.Parameters, b.parameters}, "outputs": {declared.Outputs, b.outputs},
			} {
				want, err := e.value(compared.json)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, any(compared.bicep)); diff != "" {
					t.Errorf("%s (-json +bicep):\n%s", what, diff)
				}
			}
		})
	}
}

// bicep reads a file and evaluates it as it reads. What is not there is nil, so
// that a branch which is not taken does no harm.
type bicep struct {
	t     *testing.T
	scope scope
	given map[string]any
	// deployed is what the template made: what its resources are referred to by.
	deployed *deployment

	rest                string         // of the file
	names               map[string]any // parameters, variables and resources
	parameters, outputs map[string]any // as the JSON has them
	resources           map[string]any // by ID, with what modules add
}

// run reads the statements of a file.
func (b *bicep) run(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	b.rest = string(text)
	b.names, b.parameters, b.outputs = map[string]any{}, map[string]any{}, map[string]any{}
	facets := map[string]any{} // what decorators say of the next statement
	for b.space(); b.rest != ""; b.space() {
		if b.take("@") {
			b.decorator(facets)
			continue
		}
		keyword := b.word()
		b.space()
		switch keyword {
		case "targetScope":
			b.want("=")
			b.value()
		case "param":
			b.parameter(facets)
		case "var":
			name := b.word()
			b.want("=")
			b.names[name] = b.value()
		case "resource":
			b.resource()
		case "module":
			b.module()
		case "output":
			name := b.word()
			b.space()
			facets["type"] = b.word()
			b.want("=")
			facets["value"] = b.value()
			b.outputs[name] = facets
		default:
			b.t.Fatalf("%s: what is %q?", file, keyword)
		}
		facets = map[string]any{}
	}
}

func (b *bicep) decorator(facets map[string]any) {
	name := b.word()
	b.want("(")
	if name == "secure" {
		facets[name] = true
		b.want(")")
		return
	}
	value := b.value()
	b.want(")")
	switch name {
	case "description":
		facets["metadata"] = map[string]any{name: value}
	case "allowed":
		facets["allowedValues"] = value
	default:
		facets[name] = value
	}
}

func (b *bicep) parameter(facets map[string]any) {
	name := b.word()
	b.space()
	facets["type"] = b.word()
	if facets["secure"] == true {
		delete(facets, "secure")
		facets["type"] = "securestring"
	}
	if b.take("=") {
		facets["defaultValue"] = b.value()
		b.names[name] = facets["defaultValue"]
	}
	if value, ok := b.given[name]; ok {
		b.names[name] = value
	}
	b.parameters[name] = facets
}

// condition reads what stands between a declaration and its body.
func (b *bicep) condition() bool {
	b.want("=")
	if !b.take("if (") {
		return true
	}
	wanted := b.value() == true
	b.want(")")
	return wanted
}

func (b *bicep) resource() {
	symbol := b.word()
	b.space()
	kind, version, _ := strings.Cut(b.value().(string), "@")
	wanted := b.condition()
	body := b.value().(map[string]any)
	id, err := resourceID(b.scope.id(), kind, body["name"].(string))
	if err != nil {
		b.t.Fatal(err)
	}
	known := map[string]any{"id": id, "name": body["name"]}
	if subnets, ok := found(body, "properties", "subnets").([]any); ok {
		known["properties"] = map[string]any{"subnets": []any{map[string]any{"id": id + "/subnets/" + found(subnets[0], "name").(string)}}}
	}
	if referred, err := b.deployed.reference(id); err == nil {
		for key, value := range referred {
			known[key] = value
		}
	}
	b.names[symbol] = known
	delete(body, "dependsOn")
	body["type"], body["apiVersion"] = kind, version
	if wanted {
		b.resources[id] = body
	}
}

func (b *bicep) module() {
	b.word()
	b.space()
	file := b.value().(string)
	wanted := b.condition()
	body := b.value().(map[string]any)
	if !wanted {
		return
	}
	inner := bicep{t: b.t, scope: b.scope, given: body["params"].(map[string]any), deployed: b.deployed, resources: b.resources}
	if body["scope"] != nil {
		inner.scope.group = ""
	}
	id, err := resourceID(inner.scope.id(), deployments, body["name"].(string))
	if err != nil {
		b.t.Fatal(err)
	}
	b.resources[id] = map[string]any(nil)
	inner.run(file)
	if diff := cmp.Diff(keys(inner.parameters), keys(inner.given)); diff != "" {
		b.t.Errorf("%s is given other parameters than it has (-has +given):\n%s", file, diff)
	}
}

func keys(of map[string]any) map[string]bool {
	set := map[string]bool{}
	for key := range of {
		set[key] = true
	}
	return set
}

// value reads an expression.
func (b *bicep) value() any {
	value := b.operand()
	if b.take("==") {
		value = value == b.operand()
	}
	if !b.take("?") {
		return value
	}
	yes := b.value()
	b.want(":")
	no := b.value()
	if value == true {
		return yes
	}
	return no
}

func (b *bicep) operand() any {
	if b.take("!") {
		return b.operand() == false
	}
	value := b.primary()
	for {
		switch {
		case strings.HasPrefix(b.rest, "."):
			b.want(".")
			value = found(value, b.word())
		case strings.HasPrefix(b.rest, "["):
			b.want("[")
			list, _ := value.([]any)
			value = nil
			if i, ok := b.value().(float64); ok && int(i) < len(list) {
				value = list[int(i)]
			}
			b.want("]")
		default:
			return value
		}
	}
}

func (b *bicep) primary() any {
	switch {
	case b.take("'"):
		return b.quoted()
	case b.take("{"):
		object := map[string]any{}
		for !b.take("}") {
			key := ""
			if b.take("'") {
				key = b.quoted()
			} else {
				key = b.word()
			}
			b.want(":")
			object[key] = b.value()
		}
		return object
	case b.take("["):
		list := []any{}
		for !b.take("]") {
			list = append(list, b.value())
			b.take(",")
		}
		return list
	}
	word := b.word()
	if number, err := strconv.ParseFloat(word, 64); err == nil {
		return number
	}
	switch word {
	case "null":
		return nil
	case "true", "false":
		return word == "true"
	}
	if strings.HasPrefix(b.rest, "(") {
		return b.call(word)
	}
	value, ok := b.names[word]
	if !ok {
		b.t.Fatalf("there is no %q before %.60q", word, b.rest)
	}
	return value
}

func (b *bicep) call(name string) any {
	var arguments []any
	for b.want("("); !b.take(")"); b.take(",") {
		arguments = append(arguments, b.value())
	}
	if name == "loadTextContent" {
		text, err := os.ReadFile(arguments[0].(string))
		if err != nil {
			b.t.Fatal(err)
		}
		return string(text)
	}
	value, err := evaluator{scope: b.scope}.call(name, arguments)
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// quoted reads a text up to its end, with what stands in it in ${}.
func (b *bicep) quoted() string {
	var text strings.Builder
	for {
		end := strings.IndexAny(b.rest, `'\$`)
		text.WriteString(b.rest[:end])
		b.rest = b.rest[end:]
		switch {
		case strings.HasPrefix(b.rest, "'"):
			b.rest = b.rest[1:]
			return text.String()
		case strings.HasPrefix(b.rest, "${"):
			b.rest = b.rest[2:]
			text.WriteString(b.value().(string))
			b.want("}")
		default: // an escaped quote
			text.WriteString(b.rest[1:2])
			b.rest = b.rest[2:]
		}
	}
}

var (
	blank = regexp.MustCompile(`^(\s|//[^\n]*)+`)
	word  = regexp.MustCompile(`^\w+`)
)

// space skips it, and comments.
func (b *bicep) space() { b.rest = blank.ReplaceAllString(b.rest, "") }

func (b *bicep) word() string {
	b.space()
	found := word.FindString(b.rest)
	if found == "" {
		b.t.Fatalf("no word at %.60q", b.rest)
	}
	b.rest = b.rest[len(found):]
	return found
}

// take reads the text if it is next.
func (b *bicep) take(text string) bool {
	rest, ok := strings.CutPrefix(blank.ReplaceAllString(b.rest, ""), text)
	if ok {
		b.rest = rest
	}
	return ok
}

func (b *bicep) want(text string) {
	if !b.take(text) {
		b.t.Fatalf("no %q at %.60q", text, b.rest)
	}
}
