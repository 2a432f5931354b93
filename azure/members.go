package azure

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// membership remembers what was looked at in vain for instances among the nodes
// of this cluster, so that those of a foreign set are not listed again and
// again.
type membership struct {
	mu     sync.Mutex
	looked map[string]string // by set: what the last look in vain depended on
}

// isPool reports whether the untagged set is known as a pool or has an instance
// among the nodes.
func (m *membership) isPool(set capacity.Pool, known capacity.Known, list func() ([]*armcompute.VirtualMachineScaleSetVM, error)) (bool, error) {
	if slices.ContainsFunc(known.Pools, func(name string) bool { return strings.EqualFold(name, set.Name) }) {
		return true, nil
	}
	key := strings.ToLower(set.Name)
	seen := fmt.Sprint(set.Capacity, slices.Sorted(slices.Values(known.VMIDs)))
	m.mu.Lock()
	defer m.mu.Unlock()
	if set.Capacity == 0 || len(known.VMIDs) == 0 || m.looked[key] == seen {
		return false, nil
	}
	vms, err := list()
	if err != nil {
		return false, err
	}
	nodes := map[string]bool{}
	for _, id := range known.VMIDs {
		for _, form := range capacity.VMIDs(id) {
			nodes[form] = true
		}
	}
	ours := slices.ContainsFunc(vms, func(vm *armcompute.VirtualMachineScaleSetVM) bool {
		vmid := instance(vm).VMID
		return vmid != "" && nodes[vmid]
	})
	if m.looked == nil {
		m.looked = map[string]string{}
	}
	if !ours {
		m.looked[key] = seen
	}
	return ours, nil
}
