package k3s

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestCheckMetadata(t *testing.T) {
	for name, tc := range map[string]struct {
		output string
		status int
		err    error
		want   string // part of what is said; empty for nothing
	}{
		"the rule is there": {},
		"there is no rule":  {output: "iptables: Bad rule (does a matching rule exist in that chain?).", status: 1, want: "install.md has the unit"},
		"not root":          {output: "iptables v1.8.10 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n", status: 4, want: "not judged: iptables: iptables v1.8.10 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root); run this as root"},
		"no iptables":       {err: errors.New("iptables: not found"), want: "not judged: iptables: not found"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := ""
			got := CheckMetadata(t.Context(), func(_ context.Context, program string, args ...string) (string, int, error) {
				asked = program + " " + strings.Join(args, " ")
				return tc.output, tc.status, tc.err
			})
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("said %q, want %q", got, tc.want)
			}
			if want := "iptables -w -t raw -C PREROUTING -d 169.254.169.254 -j DROP"; asked != want {
				t.Errorf("ran %q, want %q", asked, want)
			}
		})
	}
}
