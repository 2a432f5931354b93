package azure

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

func TestProtect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 2)}})
		refs := w.refs(t, "agents")
		protected := func() []bool {
			t.Helper()
			instances, err := w.Instances(t.Context(), "agents")
			if err != nil {
				t.Fatal(err)
			}
			var list []bool
			for _, i := range instances {
				list = append(list, i.Protected)
			}
			return list
		}
		for _, step := range []struct {
			on   bool
			want []bool
		}{{true, []bool{false, true}}, {false, []bool{false, false}}} {
			if err := w.Protect(t.Context(), "agents", refs[1], step.on); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(step.want, protected()); diff != "" {
				t.Errorf("protected (-want +got):\n%s", diff)
			}
		}
		if diff := cmp.Diff(refs, w.refs(t, "agents")); diff != "" {
			t.Errorf("machines (-want +got):\n%s", diff)
		}
	})
}

func TestProtectRefused(t *testing.T) {
	const other = "00000000-1111-4222-8333-444444444444"
	for name, tc := range map[string]struct {
		ref  capacity.Ref
		want string
	}{
		"another VM by now":      {ref: capacity.Ref{ID: "0", VMID: other}, want: "nothing was done"},
		"no VMID":                {ref: capacity.Ref{ID: "0"}, want: "nothing was done"},
		"a machine that is gone": {ref: capacity.Ref{ID: "7", VMID: other}, want: "NotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
				if err := w.Protect(t.Context(), "agents", tc.ref, true); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want one that says %q", err, tc.want)
				}
				if n := w.sent(http.MethodPut); n != 0 {
					t.Errorf("%d changes were sent", n)
				}
			})
		})
	}
}
