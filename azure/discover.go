package azure

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// scaleSet is a set of the resource group with its tags read.
type scaleSet struct {
	capacity.Pool
	// location is the set's region.
	location string
	// tagsErr is what is wrong with the tags.
	tagsErr error
}

// Pools lists the scale sets of Tidegate's own resource group that are pools:
// those tagged for Tidegate or, where none is, those that known names or of
// which an instance is a node of this cluster. Sets that are switched off or
// belong to another autoscaler are left alone, as is the set of Tidegate's own
// VM. Of those that known names it also returns the ones that are gone.
func (c *Cloud) Pools(ctx context.Context, known capacity.Known) ([]capacity.Pool, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the scale sets: %w", err)
	}
	var sets []scaleSet
	pager := conn.sets.NewListPager(conn.machine.ResourceGroup, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err = c.outcome(conn, actionReadSets, err); err != nil {
			return nil, fmt.Errorf("list the scale sets of resource group %s: %w", conn.machine.ResourceGroup, err)
		}
		for _, set := range page.Value {
			sets = append(sets, readSet(set))
		}
	}
	gone := c.gone(ctx, conn, known, sets)
	tagged, untagged := candidates(sets, conn.machine)
	if len(tagged) > 0 {
		c.describe(ctx, conn, tagged)
		return append(c.report(tagged), gone...), nil
	}
	var found []scaleSet
	for _, set := range untagged {
		ours, err := c.members.isPool(set.Pool, known, func() ([]*armcompute.VirtualMachineScaleSetVM, error) {
			return c.list(ctx, conn, set.Name, nil, 0)
		})
		if err != nil {
			return nil, fmt.Errorf("list the instances of %s: %w", set.Name, err)
		}
		if ours {
			found = append(found, set)
		}
	}
	c.describe(ctx, conn, found)
	return append(c.report(found), gone...), nil
}

// gone returns the sets that were pools before, are not listed, and of which Azure
// says when it is asked for them that they do not exist.
func (c *Cloud) gone(ctx context.Context, conn *connection, known capacity.Known, listed []scaleSet) []capacity.Pool {
	var gone []capacity.Pool
	for _, name := range known.Pools {
		if slices.ContainsFunc(listed, func(s scaleSet) bool { return strings.EqualFold(s.Name, name) }) {
			continue
		}
		if _, err := c.get(ctx, conn, name); status(http.StatusNotFound)(err) && armCode(err) == "ResourceNotFound" {
			gone = append(gone, capacity.Pool{Name: name, Gone: true, Settled: true, Refused: "the scale set does not exist any more"})
		}
	}
	return gone
}

func readSet(set *armcompute.VirtualMachineScaleSet) scaleSet {
	tags := make(map[string]string, len(set.Tags))
	for k, v := range set.Tags {
		tags[k] = deref(v)
	}
	settings, err := api.ParsePoolTags(tags)
	s := scaleSet{
		Pool:     capacity.Pool{Name: deref(set.Name), Settings: settings, Refused: refused(set)},
		location: regionName(deref(set.Location)),
		tagsErr:  err,
	}
	if set.SKU != nil {
		s.Capacity = int(deref(set.SKU.Capacity))
		s.VMSize = deref(set.SKU.Name)
	}
	s.Settled = settled(set)
	for _, z := range set.Zones {
		s.Zones = append(s.Zones, zone(s.location, deref(z)))
	}
	if set.Properties != nil && set.Properties.VirtualMachineProfile != nil {
		profile := set.Properties.VirtualMachineProfile
		priority := deref(profile.Priority)
		s.Spot = priority != "" && priority != armcompute.VirtualMachinePriorityTypesRegular
		if storage := profile.StorageProfile; storage != nil && storage.OSDisk != nil && storage.OSDisk.DiskSizeGB != nil {
			s.Hardware = corev1.ResourceList{corev1.ResourceEphemeralStorage: gibibytes(float64(*storage.OSDisk.DiskSizeGB))}
		}
	}
	return s
}

// regionName returns a region's name as Azure uses it in addresses; resources
// may show its display form, such as West Europe.
func regionName(location string) string {
	return strings.ToLower(strings.ReplaceAll(location, " ", ""))
}

// zone returns a zone in the form of the node label topology.kubernetes.io/zone.
// Source: cloud-provider-azure documentation, "Use Availability Zones".
func zone(region, number string) string { return region + "-" + number }

// refused says why a set must not be managed, or "".
func refused(set *armcompute.VirtualMachineScaleSet) string {
	p := set.Properties
	switch {
	case p == nil:
		return ""
	case deref(p.OrchestrationMode) == armcompute.OrchestrationModeFlexible:
		return "its orchestration mode is Flexible; Tidegate needs a scale set in Uniform mode"
	case deref(p.Overprovision):
		return "overprovision is on, so Azure buys surplus machines and deletes some of its own choice; switch it off: az vmss update --set overprovision=false"
	}
	return ""
}

// candidates sorts out the sets that may be pools: those tagged for Tidegate,
// and those whose tags leave it open.
func candidates(sets []scaleSet, own Machine) (tagged, untagged []scaleSet) {
	for _, s := range sets {
		enabled := s.Settings.Enabled
		switch {
		case own.guardOwn(s.Name) != nil:
		case enabled != nil && *enabled:
			tagged = append(tagged, s)
		case enabled == nil && !s.Settings.OtherAutoscaler:
			untagged = append(untagged, s)
		}
	}
	return tagged, untagged
}

// report returns the pools and logs what is wrong with their tags, when it
// changes.
func (c *Cloud) report(sets []scaleSet) []capacity.Pool {
	pools := make([]capacity.Pool, 0, len(sets))
	wrong := map[string]string{}
	for _, s := range sets {
		pools = append(pools, s.Pool)
		if s.tagsErr != nil {
			wrong[s.Name] = s.tagsErr.Error()
		}
	}
	c.mu.Lock()
	before := c.wrongTags
	c.wrongTags = wrong
	c.mu.Unlock()
	for name, text := range wrong {
		if before[name] != text {
			c.options.Log.Info("scale set has unusable tags", "pool", name, "problem", text)
		}
	}
	return pools
}
