package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// Instances lists the machines of a pool with their present state.
func (c *Cloud) Instances(ctx context.Context, pool string) ([]capacity.Instance, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the instances of %s: %w", pool, err)
	}
	vms, err := c.list(ctx, conn, pool, to.Ptr("instanceView"), 0)
	if err != nil {
		return nil, fmt.Errorf("list the instances of %s: %w", pool, err)
	}
	instances := make([]capacity.Instance, 0, len(vms))
	for _, vm := range vms {
		instances = append(instances, instance(vm))
	}
	return instances, nil
}

// list reads all pages of a set's instances. The turn of the first due requests for
// that has come.
func (c *Cloud) list(ctx context.Context, conn *connection, pool string, expand *string, due int) ([]*armcompute.VirtualMachineScaleSetVM, error) {
	var vms []*armcompute.VirtualMachineScaleSetVM
	pages := 0
	pager := conn.vms.NewListPager(conn.machine.ResourceGroup, pool, &armcompute.VirtualMachineScaleSetVMsClientListOptions{Expand: expand})
	for ; pager.More(); pages++ {
		if pages >= due {
			if err := c.reads.take(ctx, "reads", pool); err != nil {
				return nil, err
			}
		}
		page, err := pager.NextPage(ctx)
		if err = c.outcome(conn, actionReadInstances, err); err != nil {
			return nil, err
		}
		vms = append(vms, page.Value...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pages == nil {
		c.pages = map[string]int{}
	}
	c.pages[strings.ToLower(pool)] = pages
	return vms, nil
}

// pagesOf is how many requests a list of the set's instances took last, 1 if none was
// read yet.
func (c *Cloud) pagesOf(pool string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(1, c.pages[strings.ToLower(pool)])
}

// instance reads what Tidegate needs of a VM; what is missing stays empty.
func instance(vm *armcompute.VirtualMachineScaleSetVM) capacity.Instance {
	i := capacity.Instance{ID: deref(vm.InstanceID), Name: deref(vm.Name), State: capacity.InstanceRunning}
	if len(vm.Zones) > 0 { // Azure shows one at most
		i.Zone = zone(regionName(deref(vm.Location)), deref(vm.Zones[0]))
	}
	p := vm.Properties
	if p == nil {
		return i
	}
	i.VMID = strings.ToLower(deref(p.VMID))
	i.Created = deref(p.TimeCreated)
	i.Protected = p.ProtectionPolicy != nil && deref(p.ProtectionPolicy.ProtectFromScaleIn)
	i.Outdated = p.LatestModelApplied != nil && !*p.LatestModelApplied
	power := ""
	if view := p.InstanceView; view != nil {
		i.ComputerName = deref(view.ComputerName)
		for _, s := range view.Statuses {
			if s != nil && strings.HasPrefix(deref(s.Code), "PowerState/") {
				power = deref(s.Code)
			}
		}
	}
	if p.OSProfile != nil && p.OSProfile.ComputerName != nil {
		i.ComputerName = *p.OSProfile.ComputerName
	}
	i.State = state(deref(p.ProvisioningState), power)
	i.Changing = p.ProvisioningState != nil && !ended(*p.ProvisioningState)
	// A failed start leaves the machine deallocated.
	i.Deallocated = power == "PowerState/deallocated" && (i.State == capacity.InstanceStopped || i.State == capacity.InstanceFailed)
	return i
}

// state reads an instance's state from Azure's two. A machine that runs counts
// as running even while Azure still sets it up, or if it failed to: its node
// may have joined and may carry work.
// Source: Azure documentation, "States and billing status of Azure VMs".
func state(provisioning, power string) capacity.InstanceState {
	switch {
	case strings.EqualFold(provisioning, "Deleting"):
		return capacity.InstanceDeleting
	case power == "PowerState/running":
		return capacity.InstanceRunning
	case strings.EqualFold(provisioning, "Creating"):
		return capacity.InstanceCreating
	case strings.EqualFold(provisioning, "Failed"):
		return capacity.InstanceFailed
	}
	switch power {
	case "PowerState/starting":
		return capacity.InstanceCreating
	case "PowerState/stopping", "PowerState/stopped", "PowerState/deallocating", "PowerState/deallocated":
		return capacity.InstanceStopped
	}
	return capacity.InstanceRunning
}

// deref returns what p points to, or the zero value.
func deref[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}
