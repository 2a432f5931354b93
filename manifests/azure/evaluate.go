package azuretemplate

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
)

// evaluator evaluates template expressions with the functions that the template
// uses. Source: Azure documentation, "ARM template functions".
type evaluator struct {
	parameters, variables map[string]any
	scope                 scope
	// reference returns what is known of a resource that is deployed.
	reference func(id string) (map[string]any, error)
}

// scope is where a template is deployed to: a resource group, or the
// subscription if the group has no name.
type scope struct {
	subscription, group, location string
}

// subscriptionID is that of the resource, not the bare number.
func (s scope) subscriptionID() string { return "/subscriptions/" + s.subscription }

// id is the scope's own.
func (s scope) id() string {
	if s.group == "" {
		return s.subscriptionID()
	}
	return s.subscriptionID() + "/resourceGroups/" + s.group
}

// resourceID is the ID of a resource of that type below the scope with that ID.
func resourceID(scope, kind string, names ...string) (string, error) {
	types := strings.Split(kind, "/") // the provider, and a type for each name
	if len(types) != len(names)+1 {
		return "", fmt.Errorf("%s has %d names", kind, len(names))
	}
	id := scope + "/providers/" + types[0]
	for i, name := range names {
		id += "/" + types[i+1] + "/" + name
	}
	return id, nil
}

// value evaluates every expression in a JSON value.
func (e evaluator) value(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if !strings.HasPrefix(v, "[") || !strings.HasSuffix(v, "]") {
			return v, nil
		}
		p := parser{v[1 : len(v)-1]}
		parsed, err := p.expression()
		if err == nil && p.rest != "" {
			err = fmt.Errorf("%q is left", p.rest)
		}
		var result any
		if err == nil {
			result, err = parsed.evaluate(e)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v, err)
		}
		return result, nil
	case map[string]any:
		result := map[string]any{}
		for key, item := range v {
			evaluated, err := e.value(item)
			if err != nil {
				return nil, err
			}
			result[key] = evaluated
		}
		return result, nil
	case []any:
		result := make([]any, len(v))
		for i, item := range v {
			evaluated, err := e.value(item)
			if err != nil {
				return nil, err
			}
			result[i] = evaluated
		}
		return result, nil
	}
	return v, nil // a number, a boolean or nothing
}

// expression is a text, or a call and the members that are read of its result.
type expression struct {
	text      string
	call      string // empty for a text
	arguments []expression
	members   []string
}

// parser reads one expression.
type parser struct{ rest string }

func (p *parser) expression() (x expression, err error) {
	p.rest = strings.TrimLeft(p.rest, " ")
	if quoted, ok := strings.CutPrefix(p.rest, "'"); ok {
		var closed bool
		if x.text, p.rest, closed = strings.Cut(quoted, "'"); !closed {
			return x, fmt.Errorf("a text has no end")
		}
		return x, nil
	}
	if x.call = p.word(); x.call == "" || !strings.HasPrefix(p.rest, "(") {
		return x, fmt.Errorf("no call at %q", x.call+p.rest)
	}
	p.rest = p.rest[1:]
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		if rest, closed := strings.CutPrefix(p.rest, ")"); closed {
			p.rest = rest
			break
		}
		argument, err := p.expression()
		if err != nil {
			return x, err
		}
		x.arguments = append(x.arguments, argument)
		p.rest = strings.TrimPrefix(strings.TrimLeft(p.rest, " "), ",")
	}
	for strings.HasPrefix(p.rest, ".") {
		p.rest = p.rest[1:]
		x.members = append(x.members, p.word())
	}
	return x, nil
}

// word reads as many letters and digits as there are.
func (p *parser) word() string {
	word := p.rest
	if end := strings.IndexFunc(p.rest, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }); end >= 0 {
		word = p.rest[:end]
	}
	p.rest = p.rest[len(word):]
	return word
}

func (x expression) evaluate(e evaluator) (any, error) {
	if x.call == "" {
		return x.text, nil
	}
	given := x.arguments
	if x.call == "if" && len(given) == 3 { // only one of the branches is evaluated
		condition, err := given[0].evaluate(e)
		if err != nil {
			return nil, err
		}
		if condition == true {
			return given[1].evaluate(e)
		}
		return given[2].evaluate(e)
	}
	arguments := make([]any, len(given))
	for i := range given {
		var err error
		if arguments[i], err = given[i].evaluate(e); err != nil {
			return nil, err
		}
	}
	result, err := e.call(x.call, arguments)
	for _, member := range x.members {
		object, _ := result.(map[string]any)
		if result = object[member]; result == nil && err == nil {
			err = fmt.Errorf("%s() has no %s", x.call, member)
		}
	}
	return result, err
}

func (e evaluator) call(name string, arguments []any) (any, error) {
	texts := make([]string, len(arguments))
	for i, a := range arguments {
		texts[i] = fmt.Sprint(a)
	}
	switch n := len(arguments); {
	case name == "parameters" && n == 1:
		value, ok := e.parameters[texts[0]]
		if !ok {
			return nil, fmt.Errorf("parameter %s has no value", texts[0])
		}
		return e.value(value)
	case name == "variables" && n == 1:
		value, ok := e.variables[texts[0]]
		if !ok {
			return nil, fmt.Errorf("there is no variable %s", texts[0])
		}
		return e.value(value)
	case name == "string" && n == 1:
		return texts[0], nil
	case name == "null" && n == 0:
		return nil, nil
	case name == "equals" && n == 2:
		return texts[0] == texts[1], nil
	case name == "not" && n == 1:
		return arguments[0] == false, nil
	case name == "empty" && n == 1:
		return arguments[0] == nil || texts[0] == "", nil
	case name == "base64" && n == 1:
		return base64.StdEncoding.EncodeToString([]byte(texts[0])), nil
	case name == "replace" && n == 3:
		return strings.ReplaceAll(texts[0], texts[1], texts[2]), nil
	case name == "format" && n > 0:
		result := texts[0]
		for i, text := range texts[1:] {
			result = strings.ReplaceAll(result, fmt.Sprintf("{%d}", i), text)
		}
		return result, nil
	case name == "guid" && n > 0:
		// Azure's are others; what counts is that the same texts give the same.
		return madeUp("guid", strings.Join(texts, "-")), nil
	case name == "uniqueString" && n > 0:
		return madeUp("string", strings.Join(texts, "-"))[:13], nil
	case name == "createObject" && n%2 == 0:
		object := map[string]any{}
		for i := 0; i < n; i += 2 {
			object[texts[i]] = arguments[i+1]
		}
		return object, nil
	case name == "resourceGroup" && n == 0 && e.scope.group != "":
		return map[string]any{"id": e.scope.id(), "name": e.scope.group, "location": e.scope.location}, nil
	case name == "subscription" && n == 0:
		return map[string]any{"id": e.scope.subscriptionID(), "subscriptionId": e.scope.subscription}, nil
	case name == "resourceId" && n > 1:
		return resourceID(e.scope.id(), texts[0], texts[1:]...)
	case name == "subscriptionResourceId" && n > 1:
		return resourceID(e.scope.subscriptionID(), texts[0], texts[1:]...)
	case name == "reference" && n > 1:
		known, err := e.reference(texts[0])
		if err != nil || n == 3 && texts[2] == "full" {
			return known, err
		}
		properties, _ := known["properties"].(map[string]any)
		return properties, nil
	}
	return nil, fmt.Errorf("the function %s with %d arguments is not known here", name, len(arguments))
}
