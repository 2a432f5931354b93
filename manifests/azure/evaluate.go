package azuretemplate

import (
	"fmt"
	"strings"
	"unicode"
)

// evaluator evaluates template expressions, as far as what is read here needs
// them. Source: Azure documentation, "Syntax and expressions in ARM templates".
type evaluator struct {
	parameters, variables map[string]any
	// group is the ID of the resource group that is deployed to.
	group string
}

// value evaluates every expression in a JSON value.
func (e evaluator) value(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if !strings.HasPrefix(v, "[") || !strings.HasSuffix(v, "]") {
			return v, nil
		}
		p := parser{evaluator: e, rest: v[1 : len(v)-1]}
		result, err := p.expression()
		if err == nil && p.rest != "" {
			err = fmt.Errorf("%q is left", p.rest)
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
	default: // lists of plain values, numbers, booleans
		return v, nil
	}
}

// parser reads one expression: a text in quotes, or a call.
type parser struct {
	evaluator
	rest string
}

func (p *parser) expression() (any, error) {
	p.rest = strings.TrimLeft(p.rest, " ")
	if quoted, ok := strings.CutPrefix(p.rest, "'"); ok {
		text, rest, closed := strings.Cut(quoted, "'")
		if !closed {
			return nil, fmt.Errorf("a text has no end")
		}
		p.rest = rest
		return text, nil
	}
	end := strings.IndexFunc(p.rest, func(r rune) bool { return !unicode.IsLetter(r) })
	if end <= 0 || p.rest[end] != '(' {
		return nil, fmt.Errorf("no call at %q", p.rest)
	}
	name := p.rest[:end]
	p.rest = p.rest[end+1:]
	var arguments []any
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		if rest, closed := strings.CutPrefix(p.rest, ")"); closed {
			p.rest = rest
			return p.call(name, arguments)
		}
		argument, err := p.expression()
		if err != nil {
			return nil, err
		}
		arguments = append(arguments, argument)
		p.rest = strings.TrimPrefix(strings.TrimLeft(p.rest, " "), ",")
	}
}

func (p *parser) call(name string, arguments []any) (any, error) {
	text := func(i int) string { return fmt.Sprint(arguments[i]) }
	switch {
	case name == "parameters" && len(arguments) == 1:
		value, ok := p.parameters[text(0)]
		if !ok {
			return nil, fmt.Errorf("parameter %s has no value", text(0))
		}
		return p.value(value)
	case name == "variables" && len(arguments) == 1:
		return p.value(p.variables[text(0)])
	case name == "if" && len(arguments) == 3:
		if arguments[0] == true {
			return arguments[1], nil
		}
		return arguments[2], nil
	case name == "string" && len(arguments) == 1:
		return text(0), nil
	case name == "null" && len(arguments) == 0:
		return nil, nil
	case name == "resourceId" && len(arguments) > 1:
		types := strings.Split(text(0), "/") // the provider, and a type for each name
		if len(types) != len(arguments) {
			return nil, fmt.Errorf("%s has %d names", text(0), len(arguments)-1)
		}
		id := p.group + "/providers/" + types[0]
		for i := range arguments[1:] {
			id += "/" + types[i+1] + "/" + text(i+1)
		}
		return id, nil
	case name == "format" && len(arguments) > 0:
		result := text(0)
		for i := range arguments[1:] {
			result = strings.ReplaceAll(result, fmt.Sprintf("{%d}", i), text(i+1))
		}
		return result, nil
	}
	return nil, fmt.Errorf("the function %s with %d arguments is not known here", name, len(arguments))
}
