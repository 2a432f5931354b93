package k3s

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestMetadataGuarded(t *testing.T) {
	for name, tc := range map[string]struct {
		output string
		status int
		err    error
		want   bool
		fails  string // part of the error; empty for none
	}{
		"the rule is there": {want: true},
		"there is no rule":  {output: "iptables: Bad rule (does a matching rule exist in that chain?).", status: 1},
		"not root":          {output: "iptables v1.8.10 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n", status: 4, fails: "iptables: iptables v1.8.10 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root); run this as root"},
		"no iptables":       {err: errors.New("iptables: not found"), fails: "iptables: not found"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := ""
			got, err := MetadataGuarded(t.Context(), func(_ context.Context, program string, args ...string) (string, int, error) {
				asked = program + " " + strings.Join(args, " ")
				return tc.output, tc.status, tc.err
			})
			if got != tc.want || (err != nil) != (tc.fails != "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("said %v, %v, want %v, %q", got, err, tc.want, tc.fails)
			}
			if want := "iptables -w -t raw -C PREROUTING -d 169.254.169.254 -j DROP"; asked != want {
				t.Errorf("ran %q, want %q", asked, want)
			}
		})
	}
}
