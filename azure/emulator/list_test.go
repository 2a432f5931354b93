package emulator_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

func TestListsComeInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := emulator.Config{PageSize: 2, Roles: []emulator.RoleAssignment{{
			Identity: emulator.SystemAssignedName, Role: emulator.VirtualMachineContributor, Scope: "/subscriptions/" + subscription,
		}}}
		want := []string{}
		for i := range 5 {
			name := fmt.Sprintf("set%d", i)
			want = append(want, name)
			cfg.ScaleSets = append(cfg.ScaleSets, emulator.ScaleSet{Name: name, Capacity: i})
		}
		w := virtual(t, cfg)
		sets, vms := w.clients(t, nil)

		got, pages := []string{}, 0
		for pager := sets.NewListAllPager(nil); pager.More(); pages++ {
			page, err := pager.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.Value {
				got = append(got, *s.Name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
			t.Errorf("sets of the subscription in %d pages, want 3 (-want +got):\n%s", pages, diff)
		}
		got = []string{}
		for pager := sets.NewListPager(group, nil); pager.More(); {
			page, err := pager.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.Value {
				got = append(got, *s.Name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sets of the group (-want +got):\n%s", diff)
		}
		if machines := listVMs(t, vms, "set3"); len(machines) != 3 {
			t.Errorf("machines of set3: %v, want 3", machines)
		}
	})
}
