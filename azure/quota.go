package azure

import (
	"context"
	"strings"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// The quotas that count machines of every family. Spot machines count against
// spotQuota and no other quota of vCPUs.
// Source: Azure documentation, "Spot quota", and the Usage API's own names.
const (
	regionalQuota = "cores"
	spotQuota     = "lowPriorityCores"
)

// usage is the state of a quota.
type usage struct{ used, limit int64 }

// readUsages reads a region's quotas; the keys are lower case.
func (conn *connection) readUsages(ctx context.Context, region string) (map[string]usage, error) {
	usages := map[string]usage{}
	pager := conn.usages.NewListPager(region, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, conn.explain(actionReadUsages, err)
		}
		for _, u := range page.Value {
			if u.Name != nil && u.CurrentValue != nil && u.Limit != nil {
				usages[strings.ToLower(deref(u.Name.Value))] = usage{int64(*u.CurrentValue), *u.Limit}
			}
		}
	}
	return usages, nil
}

// headroom is how many more machines of the pool the quotas allow, nil if
// nothing is known of the quota of its family.
func headroom(usages map[string]usage, pool capacity.Pool) *int {
	family, ok := usages[strings.ToLower(pool.Family)]
	if !ok || pool.VCPUs <= 0 {
		return nil
	}
	left := family.left()
	if regional, ok := usages[regionalQuota]; ok && !pool.Spot {
		left = min(left, regional.left())
	}
	machines := int(left / int64(pool.VCPUs))
	return &machines
}

func (u usage) left() int64 { return max(0, u.limit-u.used) }
