package azuretemplate

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpressions(t *testing.T) {
	e := evaluator{
		parameters: map[string]any{"yes": true, "n": 3}, variables: map[string]any{"greeting": "[format('{0}-{1}', 'a', parameters('n'))]"},
		scope: scope{subscription: "s", group: "g", location: "here"},
		reference: func(id string) (map[string]any, error) {
			if id != "there" {
				return nil, errors.New("it is not there")
			}
			return map[string]any{"properties": map[string]any{"of": map[string]any{"it": "known"}}, "kind": "full"}, nil
		},
	}
	for expression, want := range map[string]any{
		"plain":                                                  "plain",
		"[variables('greeting')]":                                "a-3",
		"[if(parameters('yes'), 'x', null())]":                   "x",
		"[string(parameters('n'))]":                              "3",
		"[if( parameters('yes') , null(), 'x' )]":                nil,
		"[if(equals('a', 'b'), reference('gone', '1').id, 'x')]": "x",
		"[not(empty(''))]":                                       false,
		"[resourceId('P/nets/subnets','a','b')]":                 "/subscriptions/s/resourceGroups/g/providers/P/nets/a/subnets/b",
		"[subscriptionResourceId('P/roles', 'a')]":               "/subscriptions/s/providers/P/roles/a",
		"[resourceGroup().location]":                             "here",
		"[subscription().id]":                                    "/subscriptions/s",
		"[reference('there', '1').of.it]":                        "known",
		"[reference('there', '1', 'full').kind]":                 "full",
		"[base64(replace('a-b', '-', '+'))]":                     "YSti",
		"[createObject('a', 'b')]":                               map[string]any{"a": "b"},
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
		"[variables('no')]":              "no variable",
		"['a' 'b']":                      "is left",
		"[a]":                            "no call",
		"[]":                             "no call",
		"[reference('gone', '1').id]":    "is not there",
		"[reference('there', '1').id]":   "has no id",
	} {
		got, err := e.value(expression)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want an error with %q", expression, got, err, want)
		}
	}
}
