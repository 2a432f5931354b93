package azuretemplate

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"testing"
)

// form is a template as the schema of templates allows it.
// Source: Azure Resource Manager's schema 2019-04-01/deploymentTemplate.json.
type form struct {
	Schema         string                   `json:"$schema"`
	ContentVersion string                   `json:"contentVersion"`
	Parameters     map[string]formParameter `json:"parameters"`
	Variables      map[string]any           `json:"variables"`
	Resources      []formResource           `json:"resources"`
	Outputs        map[string]formOutput    `json:"outputs"`
}

type formParameter struct {
	Type          string         `json:"type"`
	DefaultValue  any            `json:"defaultValue"`
	AllowedValues []any          `json:"allowedValues"`
	MinValue      *int           `json:"minValue"`
	Metadata      map[string]any `json:"metadata"`
}

type formOutput struct {
	Type     string         `json:"type"`
	Value    any            `json:"value"`
	Metadata map[string]any `json:"metadata"`
}

type formResource struct {
	Condition      any            `json:"condition"`
	Type           string         `json:"type"`
	APIVersion     string         `json:"apiVersion"`
	Name           string         `json:"name"`
	Location       string         `json:"location"`
	SubscriptionID string         `json:"subscriptionId"`
	DependsOn      []string       `json:"dependsOn"`
	Tags           map[string]any `json:"tags"`
	SKU            map[string]any `json:"sku"`
	Identity       any            `json:"identity"`
	Properties     map[string]any `json:"properties"`
}

var (
	parameterTypes  = []string{"string", "securestring", "int", "bool", "object", "secureObject", "array"}
	fourNumbers     = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$`)
	versionOfAnAPI  = regexp.MustCompile(`^\d\d\d\d-\d\d-\d\d(-[a-zA-Z][a-zA-Z0-9]*)?$`)
	wholeExpression = regexp.MustCompile(`(?s)^\[([^\[].*)?\]$`)
)

// The template, and those in it, have the form that Resource Manager asks for.
func TestFormOfATemplate(t *testing.T) {
	check := []json.RawMessage{text}
	for len(check) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(check[0]))
		check = check[1:]
		decoder.DisallowUnknownFields()
		var f form
		if err := decoder.Decode(&f); err != nil {
			t.Fatal(err)
		}
		if f.Schema == "" || !fourNumbers.MatchString(f.ContentVersion) {
			t.Errorf("schema %q, version %q", f.Schema, f.ContentVersion)
		}
		for name, p := range f.Parameters {
			if !slices.Contains(parameterTypes, p.Type) {
				t.Errorf("parameter %s is a %q", name, p.Type)
			}
			if len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, p.DefaultValue) {
				t.Errorf("parameter %s has the default %v, which is none of %v", name, p.DefaultValue, p.AllowedValues)
			}
		}
		for name, o := range f.Outputs {
			if !slices.Contains(parameterTypes, o.Type) || o.Value == nil {
				t.Errorf("output %s is a %q, and its value %v", name, o.Type, o.Value)
			}
		}
		for _, r := range f.Resources {
			if r.Name == "" || r.Type == "" || !versionOfAnAPI.MatchString(r.APIVersion) || r.Properties == nil && r.Type != userAssignedIdentities {
				t.Errorf("a resource lacks a name, a type, a version or properties: %+v", r)
			}
			if condition, ok := r.Condition.(string); r.Condition != nil && (!ok || !wholeExpression.MatchString(condition)) {
				t.Errorf("%s has the condition %v", r.Name, r.Condition)
			}
			if r.Type != deployments {
				continue
			}
			nested, err := json.Marshal(r.Properties["template"])
			if err != nil {
				t.Fatal(err)
			}
			check = append(check, nested)
		}
	}
}
