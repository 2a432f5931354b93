package azure

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// Machines that were bought before the set's model was changed are outdated,
// later ones are not.
func TestOutdatedInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
		w.emulated.ChangeModel("agents")
		wait, err := w.Grow(t.Context(), "agents", 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		instances, err := w.Instances(t.Context(), "agents")
		if err != nil {
			t.Fatal(err)
		}
		outdated := map[string]bool{}
		for _, i := range instances {
			outdated[i.ID] = i.Outdated
		}
		if diff := cmp.Diff(map[string]bool{"0": true, "1": false}, outdated); diff != "" {
			t.Errorf("outdated (-want +got):\n%s", diff)
		}
	})
}
