package capacity

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	vmA        = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
	vmASwapped = "3d2c1b0a-5f4e-7160-8293-a4b5c6d7e8f9"
	vmB        = "11111111-2222-3333-4444-555555555555"
)

func TestMapNodes(t *testing.T) {
	a := Instance{ID: "1", VMID: vmA, ComputerName: "AGENTS000001", State: InstanceRunning}
	b := Instance{ID: "2", VMID: vmB, ComputerName: "AGENTS000002", State: InstanceRunning}
	leaving := Instance{ID: "0", VMID: vmB, ComputerName: "AGENTS000001", State: InstanceDeleting}
	azureID := "azure:///subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachineScaleSets/agents/virtualMachines/"
	for name, tc := range map[string]struct {
		nodes     []Identity
		instances []Instance
		want      map[string]string // node to VMID
	}{
		"by the VM's ID": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: vmA, ProviderID: "k3s://agents000001"}}, instances: []Instance{a, b},
			want: map[string]string{"agents000001": vmA},
		},
		"by the ID as a generation 1 machine reports it, in capitals": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: "3D2C1B0A-5F4E-7160-8293-A4B5C6D7E8F9"}}, instances: []Instance{a},
			want: map[string]string{"agents000001": vmA},
		},
		"by the name of one that reports no ID": {
			nodes: []Identity{{Name: "agents000002"}}, instances: []Instance{a, b},
			want: map[string]string{"agents000002": vmB},
		},
		"a node may have another name than its machine": {
			nodes: []Identity{{Name: "agents000001-1f2e3d4c", SystemUUID: vmA}}, instances: []Instance{a},
			want: map[string]string{"agents000001-1f2e3d4c": vmA},
		},
		"not if its name is another machine's": {
			nodes: []Identity{{Name: "agents000002", SystemUUID: vmA}}, instances: []Instance{a, b},
			want: map[string]string{},
		},
		"unless that one is on its way out": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: vmA}}, instances: []Instance{leaving, a},
			want: map[string]string{"agents000001": vmA},
		},
		"not by name alone if the ID says otherwise": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: "99999999-0000-0000-0000-000000000000"}}, instances: []Instance{a},
			want: map[string]string{},
		},
		"not if two nodes claim one machine": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: vmA}, {Name: "impostor", SystemUUID: vmASwapped}}, instances: []Instance{a},
			want: map[string]string{},
		},
		"not if two machines have the ID": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: vmA}}, instances: []Instance{a, {ID: "7", VMID: vmASwapped, ComputerName: "X"}},
			want: map[string]string{},
		},
		"the provider ID agrees": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: vmA, ProviderID: azureID + "1"}}, instances: []Instance{a},
			want: map[string]string{"agents000001": vmA},
		},
		"not if the provider ID names another instance": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: vmA, ProviderID: azureID + "11"}}, instances: []Instance{a},
			want: map[string]string{},
		},
		"not if the provider ID names another set's instance": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: vmA, ProviderID: strings.Replace(azureID, "/agents/", "/big/", 1) + "1"}}, instances: []Instance{a},
			want: map[string]string{},
		},
		"the provider ID in another case": {
			nodes: []Identity{{Name: "agents000001", SystemUUID: vmA, ProviderID: strings.ToUpper(azureID) + "1"}}, instances: []Instance{a},
			want: map[string]string{"agents000001": vmA},
		},
		"not if two machines have its name and it reports no ID": {
			nodes: []Identity{{Name: "agents000001"}}, instances: []Instance{a, {ID: "2", VMID: vmB, ComputerName: "agents000001"}},
			want: map[string]string{},
		},
		"not if one reports no ID and another node reports that machine's": {
			nodes: []Identity{{Name: "agents000001"}, {Name: "other", SystemUUID: vmA}}, instances: []Instance{a},
			want: map[string]string{},
		},
		"two nodes on a machine do not disturb a third": {
			nodes:     []Identity{{Name: "agents000001", SystemUUID: vmA}, {Name: "impostor", SystemUUID: vmA}, {Name: "agents000002", SystemUUID: vmB}},
			instances: []Instance{a, b},
			want:      map[string]string{"agents000002": vmB},
		},
		"a node that is no machine of a pool": {
			nodes: []Identity{{Name: "server", SystemUUID: "not a UUID"}, {Name: "other"}}, instances: []Instance{a},
			want: map[string]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for node, place := range MapNodes(tc.nodes, []PoolState{{Pool: Pool{Name: "agents"}, Instances: tc.instances}}) {
				got[node] = place.Instance.VMID
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("machines of nodes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVMIDs(t *testing.T) {
	for name, tc := range map[string]struct {
		uuid string
		want []string
	}{
		"none":                     {},
		"both byte orders":         {uuid: vmA, want: []string{vmA, vmASwapped}},
		"in capitals":              {uuid: strings.ToUpper(vmASwapped), want: []string{vmASwapped, vmA}},
		"the same in both orders":  {uuid: "11111111-2222-3333-8293-a4b5c6d7e8f9", want: []string{"11111111-2222-3333-8293-a4b5c6d7e8f9"}},
		"no UUID":                  {uuid: "Not a UUID", want: []string{"not a uuid"}},
		"a field with half a byte": {uuid: "0a1b2c3-4e5f-6071-8293-a4b5c6d7e8f9", want: []string{"0a1b2c3-4e5f-6071-8293-a4b5c6d7e8f9"}},
		"too many fields":          {uuid: vmA + "-00", want: []string{vmA + "-00"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, VMIDs(tc.uuid)); diff != "" {
				t.Errorf("VMIDs (-want +got):\n%s", diff)
			}
		})
	}
}
