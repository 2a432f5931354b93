package emulator

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// elsewhere is a region that the catalogue lists besides the emulated one, for
// clients that forget to filter.
const elsewhere = "australiaeast"

// locationFilter is the only filter that the Resource SKUs API has.
// Source: Azure REST API reference, "Resource Skus - List".
var locationFilter = regexp.MustCompile(`^location eq '([^']+)'$`)

func (k *call) listSKUs(o *armcompute.ResourceSKUsClientListOptions) (resp azfake.PagerResponder[armcompute.ResourceSKUsClientListResponse]) {
	filter := ""
	if o != nil && o.Filter != nil {
		filter = *o.Filter
	}
	skus, next, err := k.skus(filter)
	addPage(&resp, armcompute.ResourceSKUsClientListResponse{ResourceSKUsResult: armcompute.ResourceSKUsResult{Value: skus, NextLink: next}}, err)
	return resp
}

func (k *call) skus(filter string) ([]*armcompute.ResourceSKU, *string, *Error) {
	wanted := func(string) bool { return true }
	if filter != "" {
		m := locationFilter.FindStringSubmatch(filter)
		if m == nil {
			return nil, nil, failure(http.StatusBadRequest, "InvalidParameter", "The filter '%s' is not supported: only location eq '<location>' is.", filter)
		}
		wanted = func(location string) bool { return strings.EqualFold(location, m[1]) }
	}
	c := k.cloud
	c.begin()
	defer c.end()
	var all []*armcompute.ResourceSKU
	for _, location := range []string{elsewhere, c.cfg.Location} {
		if wanted(location) {
			all = append(all, c.skusAt(location)...)
		}
	}
	return page(k, all)
}

// skusAt returns a region's catalogue: every known size and that of every set,
// and, as in Azure, much that is no VM.
func (c *Cloud) skusAt(location string) []*armcompute.ResourceSKU {
	sku := func(kind, name, family string) *armcompute.ResourceSKU {
		return &armcompute.ResourceSKU{
			ResourceType: to.Ptr(kind), Name: to.Ptr(name), Family: to.Ptr(family), Locations: to.SliceOfPtrs(location),
		}
	}
	shapes := maps.Clone(knownShapes)
	if location == c.cfg.Location {
		for _, s := range c.sets {
			shapes[s.Size] = *s.Shape
		}
	}
	all := []*armcompute.ResourceSKU{sku("availabilitySets", "Aligned", ""), sku("disks", "Premium_LRS", "")}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		s := sku("virtualMachines", name, shapes[name].Family)
		s.Capabilities = shapes[name].capabilities()
		all = append(all, s)
	}
	return all
}

// capabilities spells the shape as the catalogue does.
func (s Shape) capabilities() []*armcompute.ResourceSKUCapabilities {
	architecture := "x64"
	if s.ARM64 {
		architecture = "Arm64"
	}
	list := []*armcompute.ResourceSKUCapabilities{
		{Name: to.Ptr("vCPUs"), Value: to.Ptr(strconv.Itoa(s.VCPUs))},
		{Name: to.Ptr("vCPUsAvailable"), Value: to.Ptr(strconv.Itoa(s.VCPUs))},
		{Name: to.Ptr("MemoryGB"), Value: to.Ptr(strconv.Itoa(s.MemoryGiB))},
		{Name: to.Ptr("CpuArchitectureType"), Value: to.Ptr(architecture)},
	}
	if s.GPUs > 0 {
		list = append(list, &armcompute.ResourceSKUCapabilities{Name: to.Ptr("GPUs"), Value: to.Ptr(strconv.Itoa(s.GPUs))})
	}
	return list
}

func (k *call) listUsages(location string, _ *armcompute.UsageClientListOptions) (resp azfake.PagerResponder[armcompute.UsageClientListResponse]) {
	usages, next, err := k.usages(location)
	addPage(&resp, armcompute.UsageClientListResponse{ListUsagesResult: armcompute.ListUsagesResult{Value: usages, NextLink: next}}, err)
	return resp
}

func (k *call) usages(location string) ([]*armcompute.Usage, *string, *Error) {
	c := k.cloud
	if !strings.EqualFold(location, c.cfg.Location) {
		return nil, nil, failure(http.StatusBadRequest, "NoRegisteredProviderFound", "No registered resource provider found for location '%s'.", location)
	}
	c.begin()
	defer c.end()
	all := []*armcompute.Usage{}
	for _, q := range c.cfg.Quotas {
		all = append(all, &armcompute.Usage{
			Unit: to.Ptr("Count"), CurrentValue: to.Ptr(int32(c.used(q))), Limit: to.Ptr(int64(q.Limit)),
			Name: &armcompute.UsageName{Value: to.Ptr(q.Family), LocalizedValue: to.Ptr(q.Family + " vCPUs")},
		})
	}
	return page(k, all)
}

// counts reports whether the set's machines take from the quota.
func (q Quota) counts(s *scaleSet) bool {
	switch q.Family {
	case SpotQuota:
		return s.Spot
	case RegionalQuota:
		return !s.Spot
	}
	return !s.Spot && strings.EqualFold(q.Family, s.Shape.Family)
}

// used returns how much of a quota is in use. Deallocated machines keep their part of
// it. Source: Azure documentation, "Check vCPU quotas".
func (c *Cloud) used(q Quota) int {
	used := q.UsedElsewhere
	for _, s := range c.sets {
		if q.counts(s) {
			used += s.capacity * s.Shape.VCPUs
		}
	}
	return used
}
