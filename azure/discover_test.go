package azure

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

func names(pools []capacity.Pool) []string {
	names := []string{}
	for _, p := range pools {
		names = append(names, p.Name)
	}
	return names
}

func TestPools(t *testing.T) {
	const clusterAutoscaler = "k8s.io_cluster-autoscaler_enabled"
	set := func(name string, tags map[string]string) emulator.ScaleSet {
		return emulator.ScaleSet{Name: name, Capacity: 2, Tags: tags}
	}
	cases := map[string]struct {
		sets    []emulator.ScaleSet
		nodes   []string // sets of which an instance is a node
		known   []string // sets that were pools before
		swapped bool     // the nodes report their UUIDs in the other byte order
		master  string   // the set of Tidegate's own VM
		want    []string
	}{
		"tagged": {
			sets: []emulator.ScaleSet{set("agents", map[string]string{"tidegate": "enabled"}), set("web", nil)},
			want: []string{"agents"}},
		"a tag outweighs nodes": {
			sets:  []emulator.ScaleSet{set("agents", map[string]string{"tidegate": "enabled"}), set("web", nil)},
			nodes: []string{"web"}, want: []string{"agents"}},
		"no tags: the sets of the nodes": {
			sets:  []emulator.ScaleSet{set("agents", nil), set("web", nil), set("big", map[string]string{"owner": "me"})},
			nodes: []string{"agents", "big"}, want: []string{"agents", "big"}},
		"no tags, no nodes": {
			sets: []emulator.ScaleSet{set("agents", nil)}, want: []string{}},
		"no tags, nodes of generation 1": {
			sets:  []emulator.ScaleSet{set("agents", nil), set("web", nil)},
			nodes: []string{"web"}, swapped: true, want: []string{"web"}},
		"disabled": {
			sets:  []emulator.ScaleSet{set("agents", map[string]string{"tidegate": "disabled"}), set("big", nil)},
			nodes: []string{"agents", "big"}, want: []string{"big"}},
		"an unreadable switch is off": {
			sets:  []emulator.ScaleSet{set("agents", map[string]string{"tidegate": "yes please"})},
			nodes: []string{"agents"}, want: []string{}},
		"another autoscaler's": {
			sets:  []emulator.ScaleSet{set("agents", map[string]string{clusterAutoscaler: "true"})},
			nodes: []string{"agents"}, want: []string{}},
		"another autoscaler's, but tagged for Tidegate": {
			sets: []emulator.ScaleSet{set("agents", map[string]string{clusterAutoscaler: "true", "tidegate": "enabled"})},
			want: []string{"agents"}},
		"known, but switched off": {
			sets:  []emulator.ScaleSet{set("agents", map[string]string{"tidegate": "disabled"}), set("web", nil), set("big", map[string]string{clusterAutoscaler: "true"})},
			known: []string{"agents", "big", "web"}, want: []string{"web"}},
		"known, but others are tagged": {
			sets:  []emulator.ScaleSet{set("agents", map[string]string{"tidegate": "enabled"}), set("web", nil)},
			known: []string{"web"}, want: []string{"agents"}},
		"own set, however it is tagged": {
			sets:   []emulator.ScaleSet{set("Servers", map[string]string{"tidegate": "enabled"}), set("agents", nil)},
			nodes:  []string{"Servers", "agents"},
			master: "servers", want: []string{"agents"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: tc.sets, Master: emulator.Master{ScaleSet: tc.master}})
				var vmids []string
				for _, set := range tc.nodes {
					forms := capacity.VMIDs(w.refs(t, set)[1].VMID)
					vmid := forms[0]
					if tc.swapped {
						vmid = forms[1]
					}
					vmids = append(vmids, strings.ToUpper(vmid))
				}
				pools, err := w.Pools(t.Context(), capacity.Known{VMIDs: vmids, Pools: tc.known})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, names(pools)); diff != "" {
					t.Errorf("pools (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestPoolDetails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{
			{Name: "agents", Size: "Standard_D8s_v5", Capacity: 2, Tags: map[string]string{"tidegate": "enabled", "tidegate-max": "6", "tidegate-idle-after": "90s"}},
			{Name: "flex", Flexible: true, Tags: map[string]string{"tidegate": "enabled"}},
			{Name: "spot", Size: "Standard_D8s_v5", Spot: true, Zones: []string{"1", "3"}, Tags: map[string]string{"tidegate": "enabled"}},
		}})
		got, err := w.Pools(t.Context(), capacity.Known{})
		if err != nil {
			t.Fatal(err)
		}
		agents, err := api.ParsePoolTags(map[string]string{"tidegate": "enabled", "tidegate-max": "6", "tidegate-idle-after": "90s"})
		if err != nil {
			t.Fatal(err)
		}
		flex, err := api.ParsePoolTags(map[string]string{"tidegate": "enabled"})
		if err != nil {
			t.Fatal(err)
		}
		want := []capacity.Pool{
			{Name: "agents", Capacity: 2, Settled: true, Settings: agents, VMSize: "Standard_D8s_v5"},
			{Name: "flex", Settled: true, Settings: flex, VMSize: "Standard_D8s_v5", Refused: "its orchestration mode is Flexible; Tidegate needs a scale set in Uniform mode"},
			{Name: "spot", Settled: true, Settings: flex, VMSize: "Standard_D8s_v5", Spot: true, Zones: []string{"westeurope-1", "westeurope-3"}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
		if agents.Max != 6 || *agents.IdleAfter != 90*time.Second {
			t.Errorf("settings %+v do not follow the tags", agents)
		}
	})
}

func TestZonesOfInstances(t *testing.T) {
	cases := map[string]struct {
		location string
		zones    []string
		want     []string
	}{
		"zonal":              {location: "westeurope", zones: []string{"1", "3"}, want: []string{"westeurope-1", "westeurope-3", "westeurope-1"}},
		"location's display": {location: "West Europe", zones: []string{"2"}, want: []string{"westeurope-2", "westeurope-2", "westeurope-2"}},
		"regional":           {location: "westeurope", want: []string{"", "", ""}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := tagged("agents", 3)
				set.Zones = tc.zones
				w := newWorld(t, emulator.Config{Location: tc.location, ScaleSets: []emulator.ScaleSet{set}})
				instances, err := w.Instances(t.Context(), "agents")
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, i := range instances {
					got = append(got, i.Zone)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("zones (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Azure's overprovisioning deletes machines of its own choice.
func TestOverprovisionIsRefused(t *testing.T) {
	set := &armcompute.VirtualMachineScaleSet{Properties: &armcompute.VirtualMachineScaleSetProperties{Overprovision: to.Ptr(true)}}
	if why := refused(set); !strings.Contains(why, "overprovision") {
		t.Errorf("refused: %q, want it to name overprovision", why)
	}
}

// A pool that was found by its nodes stays one when its last machine has gone,
// also for the next process, which is told of it; and a set that is none is not
// read again without cause.
func TestPoolsByNodesAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 1}, {Name: "web", Capacity: 1}}})
		refs := w.refs(t, "agents")
		known := capacity.Known{VMIDs: []string{"unrelated", refs[0].VMID}}
		if _, err := w.Pools(t.Context(), known); err != nil {
			t.Fatal(err)
		}
		reads := w.requestsTo("/virtualMachines")
		known = capacity.Known{VMIDs: []string{known.VMIDs[1], known.VMIDs[0]}, Pools: []string{"Agents"}}
		if _, err := w.Pools(t.Context(), known); err != nil {
			t.Fatal(err)
		}
		if n := w.requestsTo("/virtualMachines") - reads; n != 0 {
			t.Errorf("the machines of %d sets were listed again although nothing changed", n)
		}
		wait, err := w.Delete(t.Context(), "agents", refs)
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, cloud := range map[string]*Cloud{"this process": w.Cloud, "the next": w.client(t)} {
			pools, err := cloud.Pools(t.Context(), capacity.Known{VMIDs: []string{"unrelated"}, Pools: []string{"agents"}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"agents"}, names(pools)); diff != "" {
				t.Errorf("%s: pools once agents is empty (-want +got):\n%s", name, diff)
			}
		}
	})
}

// A set that was a pool and does not exist any more is told of as that, and only if
// Azure says so of that very set.
func TestPoolsThatAreGone(t *testing.T) {
	for name, tc := range map[string]struct {
		others []emulator.ScaleSet
		known  []string
		change func(*world)
		want   []string // the pools that are gone
	}{
		"deleted":             {known: []string{"Agents"}, change: func(w *world) { w.emulated.RemoveSet("agents") }, want: []string{"Agents"}},
		"beside a tagged set": {others: []emulator.ScaleSet{tagged("big", 0)}, known: []string{"agents"}, change: func(w *world) { w.emulated.RemoveSet("agents") }, want: []string{"agents"}},
		"it was never a pool": {change: func(w *world) { w.emulated.RemoveSet("agents") }},
		"it is there":         {known: []string{"agents"}},
		"nobody may read it": {known: []string{"agents"}, change: func(w *world) {
			w.emulated.RemoveSet("agents")
			w.emulated.AddFaults(answer(actionReadSets, 403, "AuthorizationFailed", "No.", 0))
		}},
		"its resource group is not found": {known: []string{"agents"}, change: func(w *world) {
			w.emulated.RemoveSet("agents")
			w.emulated.AddFaults(answer(actionReadSets, 404, "ResourceGroupNotFound", "No.", 0))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: append(tc.others, emulator.ScaleSet{Name: "agents", Capacity: 1})})
				if tc.change != nil {
					tc.change(w)
				}
				pools, err := w.Pools(t.Context(), capacity.Known{Pools: tc.known})
				if err != nil && tc.want != nil {
					t.Fatal(err)
				}
				var gone []string
				for _, p := range pools {
					if p.Gone && p.Refused != "" {
						gone = append(gone, p.Name)
					}
				}
				if diff := cmp.Diff(tc.want, gone); diff != "" {
					t.Errorf("gone (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestPaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := emulator.Config{PageSize: 2}
		var want []string
		for i := range 5 {
			want = append(want, fmt.Sprintf("agents%d", i))
			cfg.ScaleSets = append(cfg.ScaleSets, tagged(want[i], 5))
		}
		w := newWorld(t, cfg)
		pools, err := w.Pools(t.Context(), capacity.Known{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, names(pools)); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
		instances, err := w.Instances(t.Context(), "agents4")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, i := range instances {
			got[i.ComputerName] = true
			if i.ID == "" || i.VMID != strings.ToLower(i.VMID) || i.VMID == "" || i.Created.IsZero() {
				t.Errorf("instance %+v lacks something", i)
			}
		}
		if len(got) != 5 || !got["agents4000004"] {
			t.Errorf("computer names %v, want five that follow Azure's rule", got)
		}
	})
}

func TestState(t *testing.T) {
	cases := map[string]struct {
		provisioning, power string
		want                capacity.InstanceState
	}{
		"just bought":                 {"Creating", "", capacity.InstanceCreating},
		"boots":                       {"Creating", "PowerState/starting", capacity.InstanceCreating},
		"runs while extensions run":   {"Creating", "PowerState/running", capacity.InstanceRunning},
		"runs":                        {"Succeeded", "PowerState/running", capacity.InstanceRunning},
		"no power state known":        {"Succeeded", "", capacity.InstanceRunning},
		"runs though set-up failed":   {"Failed", "PowerState/running", capacity.InstanceRunning},
		"failed":                      {"Failed", "", capacity.InstanceFailed},
		"stopped from within":         {"Succeeded", "PowerState/stopped", capacity.InstanceStopped},
		"deallocated":                 {"Succeeded", "PowerState/deallocated", capacity.InstanceStopped},
		"started again":               {"Updating", "PowerState/starting", capacity.InstanceCreating},
		"deleted while it still runs": {"Deleting", "PowerState/running", capacity.InstanceDeleting},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := state(tc.provisioning, tc.power); got != tc.want {
				t.Errorf("state %s, want %s", got, tc.want)
			}
		})
	}
}

// TestLogSaysEachThingOnce: which machine this is, which role would tell more,
// and what is wrong with a pool's tags.
func TestLogSaysEachThingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{
			{Name: "agents", Tags: map[string]string{"tidegate": "enabled", "tidegate-max": "many"}},
		}}, func(o *Options) {
			o.Log = funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
		})
		for range 3 {
			if pools, err := w.Pools(t.Context(), capacity.Known{}); err != nil || len(pools) != 1 {
				t.Fatalf("pools %v, %v", pools, err)
			}
		}
		if len(lines) != 3 || !strings.Contains(lines[0], `"vm"="master"`) || !strings.Contains(lines[0], `"resourceGroup"="tidegate"`) {
			t.Fatalf("log %q, want one line about the machine, one about the role and one about the tag", lines)
		}
		if !strings.Contains(lines[1], "az role assignment create --role \\\"Reader\\\" --scope /subscriptions/00000000-0000-4000-8000-000000000001 ") {
			t.Errorf("log %q, want the command that grants the reading role", lines[1])
		}
		if !strings.Contains(lines[2], "tidegate-max") || !strings.Contains(lines[2], `"pool"="agents"`) {
			t.Errorf("log %q, want a line about agents and tidegate-max", lines[2])
		}
	})
}
