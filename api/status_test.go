package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestParseStatus(t *testing.T) {
	pools := []PoolStatus{{Name: "agents", Max: 3}}
	for name, tc := range map[string]struct {
		text  string
		want  Status
		fails bool
	}{
		"as it is published":            {`{"pools":[{"name":"agents","max":3}],"observeOnly":true}`, Status{Pools: pools, ObserveOnly: true}, false},
		"nothing yet":                   {"", Status{}, false},
		"by a version that says more":   {`{"pools":[{"name":"agents","max":3}],"more":{}}`, Status{Pools: pools}, false},
		"by one that says it otherwise": {`{"givenUp":["a"],"pools":[{"name":"agents","max":3}]}`, Status{Pools: pools}, true},
		"no JSON":                       {`{`, Status{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseStatus(&corev1.ConfigMap{Data: map[string]string{StatusKey: tc.text}})
			if diff := cmp.Diff(tc.want, got); diff != "" || (err != nil) != tc.fails {
				t.Errorf("error %v, status (-want +got):\n%s", err, diff)
			}
		})
	}
}
