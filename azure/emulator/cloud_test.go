package emulator_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// observer notes what it is told.
type observer struct{ seen []string }

func (o *observer) OnBoot(vm emulator.VM) { o.seen = append(o.seen, "boot "+vm.ComputerName) }
func (o *observer) OnGone(vm emulator.VM) { o.seen = append(o.seen, "gone "+vm.ComputerName) }

// lines returns the history as text, the events of one set.
func lines(c *emulator.Cloud, kinds ...emulator.EventKind) []string {
	var out []string
	for _, e := range c.History() {
		switch {
		case len(kinds) > 0 && !slices.Contains(kinds, e.Kind):
		case e.Kind == emulator.CapacityChanged:
			out = append(out, fmt.Sprintf("%s %d to %d by %q (%s)", e.Kind, e.Old, e.New, e.By, e.How))
		default:
			out = append(out, fmt.Sprintf("%s %s by %q (%s)", e.Kind, e.InstanceID, e.By, e.How))
		}
	}
	return out
}

func TestLoweringTheCapacityLetsAzureChoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o observer
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 3}}, Observers: []emulator.Observer{&o}})
		w.cloud.Advance(time.Now())
		sets, vms := w.clients(t, nil)
		if _, err := resize(t.Context(), sets, "agents", 1, nil); err != nil {
			t.Fatal(err)
		}
		if left := listVMs(t, vms, "agents"); len(left) != 1 {
			t.Errorf("machines left: %v, want the oldest", left)
		}
		want := []string{
			`capacity 3 to 1 by "system" (patch)`,
			`deleting 2 by "system" (scaleIn)`,
			`deleting 1 by "system" (scaleIn)`,
		}
		if diff := cmp.Diff(want, lines(w.cloud, emulator.CapacityChanged, emulator.InstanceDeleting)); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
		wantSeen := []string{"boot agents000000", "boot agents000001", "boot agents000002", "gone agents000002", "gone agents000001"}
		if diff := cmp.Diff(wantSeen, o.seen); diff != "" {
			t.Errorf("what the observer was told (-want +got):\n%s", diff)
		}
	})
}

func TestActionsOnMachines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o observer
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 2}}, Observers: []emulator.Observer{&o}})
		sets, vms := w.clients(t, nil)
		one := &armcompute.VirtualMachineScaleSetVMInstanceIDs{InstanceIDs: to.SliceOfPtrs("1")}
		ctx := t.Context()

		stopped, err := sets.BeginDeallocate(ctx, group, "agents", &armcompute.VirtualMachineScaleSetsClientBeginDeallocateOptions{VMInstanceIDs: one})
		if err == nil {
			_, err = stopped.PollUntilDone(ctx, polling)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"0 agents000000 Succeeded PowerState/running", "1 agents000001 Succeeded PowerState/deallocated"}
		if diff := cmp.Diff(want, listVMs(t, vms, "agents")); diff != "" {
			t.Errorf("after deallocating 1 (-want +got):\n%s", diff)
		}
		started, err := sets.BeginStart(ctx, group, "agents", &armcompute.VirtualMachineScaleSetsClientBeginStartOptions{VMInstanceIDs: one})
		if err == nil {
			_, err = started.PollUntilDone(ctx, polling)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		restarted, err := sets.BeginRestart(ctx, group, "agents", &armcompute.VirtualMachineScaleSetsClientBeginRestartOptions{VMInstanceIDs: one})
		if err == nil {
			_, err = restarted.PollUntilDone(ctx, polling)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		reimaged, err := sets.BeginReimage(ctx, group, "agents", &armcompute.VirtualMachineScaleSetsClientBeginReimageOptions{
			VMScaleSetReimageInput: &armcompute.VirtualMachineScaleSetReimageParameters{InstanceIDs: to.SliceOfPtrs("0")},
		})
		if err == nil {
			_, err = reimaged.PollUntilDone(ctx, polling)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.cloud.Advance(time.Now())
		wantSeen := []string{
			"boot agents000000", "boot agents000001",
			"gone agents000001", "boot agents000001", // deallocated, started
			"gone agents000001", "boot agents000001", // restarted
			"gone agents000000", "boot agents000000", // reimaged
		}
		if diff := cmp.Diff(wantSeen, o.seen); diff != "" {
			t.Errorf("what the observer was told (-want +got):\n%s", diff)
		}
		if vms := w.cloud.VMs(); len(vms) != 2 {
			t.Errorf("machines at the end: %v, want 2", vms)
		}
	})
}

func TestSameSeedSameWorld(t *testing.T) {
	run := func(t *testing.T, seed uint64) (history []emulator.Event) {
		synctest.Test(t, func(t *testing.T) {
			w := virtual(t, emulator.Config{Seed: seed, ScaleSets: []emulator.ScaleSet{{Name: "agents", Zones: []string{"1", "2"}}}})
			sets, _ := w.clients(t, nil)
			if _, err := resize(t.Context(), sets, "agents", 5, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			history = w.cloud.History()
		})
		return history
	}
	first, again, other := run(t, 1), run(t, 1), run(t, 2)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the same seed gives another history (-first +again):\n%s", diff)
	}
	if cmp.Equal(first, other) {
		t.Error("another seed gives the same history")
	}
}

func TestComputerNamesCountInBase36(t *testing.T) {
	w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 38}}})
	vms := w.cloud.VMs()
	got := []string{vms[9].ComputerName, vms[10].ComputerName, vms[35].ComputerName, vms[36].ComputerName}
	if diff := cmp.Diff([]string{"agents000009", "agents00000A", "agents00000Z", "agents000010"}, got); diff != "" {
		t.Errorf("computer names (-want +got):\n%s", diff)
	}
}
