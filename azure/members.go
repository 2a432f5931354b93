package azure

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// membership remembers which untagged sets are pools because an instance of
// theirs was a node of this cluster, and what was looked at in vain, so that
// the instances of a foreign set are not listed again and again.
type membership struct {
	mu     sync.Mutex
	pools  map[string]bool
	looked map[string]string // by set: what the last look in vain depended on
}

// isPool reports whether the set has, or had, an instance among the nodes.
func (m *membership) isPool(set capacity.Pool, nodeVMIDs []string, list func() ([]*armcompute.VirtualMachineScaleSetVM, error)) (bool, error) {
	key := strings.ToLower(set.Name)
	seen := fmt.Sprint(set.Capacity, nodeVMIDs)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pools[key] {
		return true, nil
	}
	if set.Capacity == 0 || len(nodeVMIDs) == 0 || m.looked[key] == seen {
		return false, nil
	}
	vms, err := list()
	if err != nil {
		return false, err
	}
	if m.looked == nil {
		m.pools, m.looked = map[string]bool{}, map[string]string{}
	}
	m.looked[key] = seen
	nodes := map[string]bool{}
	for _, id := range nodeVMIDs {
		for _, form := range capacity.VMIDs(id) {
			nodes[form] = true
		}
	}
	m.pools[key] = slices.ContainsFunc(vms, func(vm *armcompute.VirtualMachineScaleSetVM) bool {
		vmid := instance(vm).VMID
		return vmid != "" && nodes[vmid]
	})
	return m.pools[key], nil
}
