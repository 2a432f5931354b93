package capacity

import "strings"

// Identity is what a node says of the machine it runs on.
type Identity struct {
	Name string
	// SystemUUID is the firmware's UUID, which on Azure is the VMID.
	SystemUUID string
	// ProviderID is the cloud's name of the machine, "k3s://NAME" where the
	// cluster has no cloud provider.
	ProviderID string
}

// Place is a machine and the pool that it belongs to.
type Place struct {
	Pool     string
	Instance Instance
}

// MapNodes says which machine each node is, by the node's name. A node is left
// out unless exactly one machine claims it, no other node claims that machine,
// and nothing that the node says of itself names another one.
func MapNodes(nodes []Identity, pools []PoolState) map[string]Place {
	byVMID := map[string][]Place{}
	byName := map[string][]Place{}
	for i := range pools {
		for _, inst := range pools[i].Instances {
			place := Place{Pool: pools[i].Name, Instance: inst}
			byVMID[strings.ToLower(inst.VMID)] = append(byVMID[strings.ToLower(inst.VMID)], place)
			byName[strings.ToLower(inst.ComputerName)] = append(byName[strings.ToLower(inst.ComputerName)], place)
		}
	}
	claims := map[string]int{}
	found := map[string]Place{}
	for _, n := range nodes {
		place, ok := locate(n, byVMID, byName)
		if !ok {
			continue
		}
		found[n.Name] = place
		claims[strings.ToLower(place.Instance.VMID)]++
	}
	for name, place := range found {
		if claims[strings.ToLower(place.Instance.VMID)] > 1 {
			delete(found, name)
		}
	}
	return found
}

func locate(n Identity, byVMID, byName map[string][]Place) (Place, bool) {
	var places []Place
	for _, id := range VMIDs(n.SystemUUID) {
		places = append(places, byVMID[id]...)
	}
	named := byName[strings.ToLower(n.Name)]
	if n.SystemUUID == "" {
		places = named
	}
	if len(places) != 1 || !providerAgrees(n.ProviderID, places[0]) {
		return Place{}, false
	}
	for _, other := range named {
		if !strings.EqualFold(other.Instance.VMID, places[0].Instance.VMID) && other.Instance.State != InstanceDeleting {
			return Place{}, false
		}
	}
	return places[0], true
}

// providerAgrees reports whether a provider ID that names an Azure instance
// names this one. Source: cloud-provider-azure's form,
// azure:///subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachineScaleSets/SET/virtualMachines/ID.
func providerAgrees(providerID string, place Place) bool {
	path, azure := strings.CutPrefix(strings.ToLower(providerID), "azure://")
	if !azure {
		return true
	}
	return strings.HasSuffix(path, strings.ToLower("/virtualMachineScaleSets/"+place.Pool+"/virtualMachines/"+place.Instance.ID))
}

// VMIDs returns the VMIDs that a system UUID may stand for, lower case: itself
// and, since generation 1 machines report the first three fields in the other
// byte order, its swapped form.
func VMIDs(systemUUID string) []string {
	id := strings.ToLower(systemUUID)
	swapped, ok := swapFields(id)
	switch {
	case id == "":
		return nil
	case !ok || swapped == id:
		return []string{id}
	}
	return []string{id, swapped}
}

// swapFields reverses the bytes of the first three fields of a UUID.
func swapFields(id string) (string, bool) {
	fields := strings.Split(id, "-")
	if len(fields) != 5 {
		return "", false
	}
	for i, f := range fields[:3] {
		if len(f)%2 != 0 {
			return "", false
		}
		var reversed strings.Builder
		for j := len(f); j > 0; j -= 2 {
			reversed.WriteString(f[j-2 : j])
		}
		fields[i] = reversed.String()
	}
	return strings.Join(fields, "-"), true
}
