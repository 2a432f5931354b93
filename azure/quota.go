package azure

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
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

// quota is a refusal's account of a core quota, in vCPUs.
type quota struct {
	name                   string
	limit, usage, required int
}

// Azure uses OperationNotAllowed for much else; only the text tells.
var (
	quotaText  = regexp.MustCompile(`exceeding approved (.+?)(?: Cores)? [Qq]uota`)
	quotaCount = map[string]*regexp.Regexp{
		"limit":    regexp.MustCompile(`Current Limit: (\d+)`),
		"usage":    regexp.MustCompile(`Current Usage: (\d+)`),
		"required": regexp.MustCompile(`Additional Required: (\d+)`),
	}
)

func isQuota(err error) bool {
	e, ok := errors.AsType[*armError](err)
	return ok && (quotaText.MatchString(e.message) || e.code == "QuotaExceeded")
}

// parseQuota reads the numbers; ok is false if the text does not hold them.
func parseQuota(message string) (q quota, ok bool) {
	name := quotaText.FindStringSubmatch(message)
	if name == nil {
		return quota{}, false
	}
	q.name = name[1]
	for field, into := range map[string]*int{"limit": &q.limit, "usage": &q.usage, "required": &q.required} {
		m := quotaCount[field].FindStringSubmatch(message)
		if m == nil {
			return quota{}, false
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return quota{}, false
		}
		*into = n
	}
	return q, true
}

// fits is how many of the wanted machines the quota still allows: what they
// require together tells what each takes. It is always fewer than wanted.
func (q quota) fits(want int) int {
	left := q.limit - q.usage
	if left <= 0 || q.required <= 0 {
		return 0
	}
	return min(left*want/q.required, want-1)
}

func quotaReason(err error) string {
	if e, ok := errors.AsType[*armError](err); ok {
		if q, ok := parseQuota(e.message); ok {
			return fmt.Sprintf("quota: %s %d/%d vCPU", q.name, q.usage, q.limit)
		}
	}
	return "quota: " + armCode(err)
}
