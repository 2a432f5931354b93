package azuretemplate

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
)

// resource is one that a deployment has made.
type resource struct {
	id, kind, name string
	// scope is the ID of what it was deployed to.
	scope string
	body  map[string]any
}

// deployment is what came of a template: its resources, with every expression
// evaluated, and those of the templates in it.
type deployment struct {
	resources []resource
}

// deploy deploys a template, in the worst order that its resources' dependsOn
// allow: Azure makes resources in any.
func (d *deployment) deploy(t template, parameters map[string]any, to scope) error {
	e := evaluator{parameters: map[string]any{}, variables: t.Variables, scope: to, reference: d.reference}
	for name, p := range t.Parameters {
		if p.DefaultValue != nil {
			e.parameters[name] = p.DefaultValue
		}
	}
	for name := range parameters {
		if _, there := t.Parameters[name]; !there {
			return fmt.Errorf("there is no parameter %s", name)
		}
	}
	maps.Copy(e.parameters, parameters)

	var pending []declaration
	for _, declared := range t.Resources {
		r, err := e.declaration(declared)
		if err != nil {
			return err
		}
		pending = append(pending, r)
	}
	for len(pending) > 0 {
		ready := func(r declaration) bool {
			return !slices.ContainsFunc(pending, func(other declaration) bool { return slices.Contains(r.dependsOn, other.id) })
		}
		i := len(pending) - 1
		for i >= 0 && !ready(pending[i]) {
			i--
		}
		if i < 0 {
			return errors.New("resources depend on each other")
		}
		if r := pending[i]; r.wanted {
			if err := d.make(e, r); err != nil {
				return fmt.Errorf("%s: %w", r.id, err)
			}
		}
		pending = slices.Delete(pending, i, i+1)
	}
	return nil
}

// declaration is a resource before it is made.
type declaration struct {
	resource
	wanted    bool // its condition holds
	dependsOn []string
}

func (e evaluator) declaration(declared map[string]any) (declaration, error) {
	known := map[string]any{"wanted": true, "scope": e.scope.id()}
	for key, from := range map[string]string{"name": "name", "type": "type", "wanted": "condition", "scope": "scope", "dependsOn": "dependsOn"} {
		if declared[from] != nil {
			known[key] = declared[from]
		}
	}
	value, err := e.value(known)
	if err != nil {
		return declaration{}, err
	}
	var r struct {
		Name, Type, Scope string
		Wanted            bool
		DependsOn         []string
	}
	if err := convert(value, &r); err != nil {
		return declaration{}, err
	}
	id, err := resourceID(r.Scope, r.Type, r.Name)
	return declaration{resource{id, r.Type, r.Name, r.Scope, declared}, r.Wanted, r.DependsOn}, err
}

// make makes one resource, whose expressions may refer to those that are there.
func (d *deployment) make(e evaluator, r declaration) error {
	if r.kind == deployments {
		return d.makeNested(e, r)
	}
	value, err := e.value(r.body)
	if err != nil {
		return err
	}
	r.body = value.(map[string]any)
	if r.kind == roleAssignments || r.kind == roleDefinitions {
		if _, err := uuid.Parse(r.name); err != nil {
			return fmt.Errorf("its name is no GUID: %w", err)
		}
	}
	d.resources = append(d.resources, r.resource)
	return nil
}

// makeNested deploys a template that sees its own parameters only.
func (d *deployment) makeNested(e evaluator, r declaration) error {
	var nested struct {
		SubscriptionID string `json:"subscriptionId"`
		Properties     struct {
			Options struct {
				Scope string `json:"scope"`
			} `json:"expressionEvaluationOptions"`
			Parameters map[string]struct {
				Value any `json:"value"`
			} `json:"parameters"`
			Template template `json:"template"`
		} `json:"properties"`
	}
	if err := convert(r.body, &nested); err != nil {
		return err
	}
	if nested.Properties.Options.Scope != "inner" {
		return errors.New("its expressions are not evaluated in a scope of their own")
	}
	parameters := map[string]any{}
	for name, p := range nested.Properties.Parameters {
		value, err := e.value(p.Value)
		if err != nil {
			return err
		}
		parameters[name] = value
	}
	to := e.scope
	if nested.SubscriptionID != "" {
		to.group = ""
	}
	id, err := resourceID(to.id(), deployments, r.name)
	if err != nil {
		return err
	}
	d.resources = append(d.resources, resource{id: id, kind: deployments, name: r.name, scope: to.id()})
	return d.deploy(nested.Properties.Template, parameters, to)
}

// find returns the resource with that ID.
func (d *deployment) find(id string) (resource, error) {
	i := slices.IndexFunc(d.resources, func(r resource) bool { return r.id == id })
	if i < 0 {
		return resource{}, fmt.Errorf("%s is not deployed", id)
	}
	return d.resources[i], nil
}

// reference is what Azure says of a resource that is deployed, as far as the
// template asks: an identity's IDs and a public address, which nobody knows
// before.
func (d *deployment) reference(id string) (map[string]any, error) {
	r, err := d.find(id)
	if err != nil {
		return nil, err
	}
	switch r.kind {
	case userAssignedIdentities:
		return map[string]any{"properties": map[string]any{"principalId": principalOf(id), "clientId": madeUp("client", id)}}, nil
	case publicAddresses:
		return map[string]any{"properties": map[string]any{"ipAddress": "203.0.113.20"}}, nil
	case virtualMachines:
		if kind, _ := found(r.body, "identity", "type").(string); kind == "SystemAssigned" {
			return map[string]any{"identity": map[string]any{"principalId": principalOf(id)}}, nil
		}
	}
	return nil, fmt.Errorf("%s has nothing to refer to", id)
}

// principalOf is the number of whoever the resource gives an identity to.
func principalOf(id string) string { return madeUp("principal", id) }

func madeUp(what, of string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(what+" "+of)).String()
}

// found walks down a JSON value.
func found(v any, path ...string) any {
	for _, key := range path {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}
