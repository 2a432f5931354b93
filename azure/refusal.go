package azure

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// refusals is what Azure's refusals to grow mean, the first match wins. Where
// stayAway is 0, Azure's Retry-After counts, and without one the caller's own
// back-off.
// Source: Azure documentation, "Resolve errors for ... allocation failure",
// "SKU not available", "quota exceeded", and Azure's answers themselves.
var refusals = []struct {
	match    func(*armError) bool
	reason   func(*armError) string
	changed  bool
	stayAway time.Duration
}{
	{match: status(http.StatusPreconditionFailed), reason: says("the scale set was changed by someone else meanwhile"), changed: true},
	{match: code("OperationPreempted"), reason: says("a newer operation on the scale set took over"), changed: true},
	{match: isQuota, reason: quotaReason},
	{match: code("AllocationFailed", "OverconstrainedAllocationRequest"), reason: says("Azure has no room for this machine type in the region at present")},
	{match: code("ZonalAllocationFailed", "OverconstrainedZonalAllocationRequest"), reason: says("Azure has no room for this machine type in the zone at present")},
	{match: code("SkuNotAvailable"), reason: says("this machine type is not offered to the subscription here"), stayAway: 30 * time.Minute},
	{match: code("RequestDisallowedByPolicy"), reason: says("an Azure policy forbids it"), stayAway: 10 * time.Minute},
	{match: code("ScopeLocked"), reason: says("a resource lock forbids it"), stayAway: 10 * time.Minute},
	{match: status(http.StatusForbidden), reason: says("Azure forbids it"), stayAway: time.Minute},
	{match: status(http.StatusNotFound), reason: says("the scale set is gone"), changed: true},
	{match: status(http.StatusConflict), reason: says("another operation on the scale set is in progress"), stayAway: 15 * time.Second},
	{match: func(e *armError) bool { return e.status >= 500 }, reason: says("Azure has a fault of its own"), stayAway: 30 * time.Second},
}

func status(want int) func(*armError) bool {
	return func(e *armError) bool { return e.status == want }
}

func code(want ...string) func(*armError) bool {
	return func(e *armError) bool { return slices.Contains(want, e.code) }
}

func says(reason string) func(*armError) string {
	return func(*armError) string { return reason }
}

// refusal says in a waiting pod's terms why the pool did not grow by want
// machines. err is one that explain has seen.
func refusal(err error, want int) *capacity.GrowError {
	if throttled, ok := errors.AsType[*throttledError](err); ok {
		return &capacity.GrowError{Reason: "Azure limits the rate of requests", RetryAfter: throttled.wait, Err: err}
	}
	e, ok := errors.AsType[*armError](err)
	if access, isAccess := errors.AsType[*accessError](err); isAccess {
		if access.denied {
			return &capacity.GrowError{Reason: fmt.Sprintf("Tidegate's identity lacks the role %q", neededRole), Err: err}
		}
		return &capacity.GrowError{Reason: "Tidegate has no access to Azure", Err: err}
	}
	if !ok {
		return &capacity.GrowError{Reason: "the request was cut short", Err: err}
	}
	for _, row := range refusals {
		if !row.match(e) {
			continue
		}
		g := &capacity.GrowError{Reason: row.reason(e), Changed: row.changed, RetryAfter: max(e.retryAfter, row.stayAway), Err: err}
		if q, ok := parseQuota(e.message); ok {
			g.Fits = q.fits(want)
		}
		return g
	}
	return &capacity.GrowError{Reason: "Azure refuses: " + e.code, RetryAfter: e.retryAfter, Err: err}
}

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

func isQuota(e *armError) bool {
	return quotaText.MatchString(e.message) || e.code == "QuotaExceeded"
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

func quotaReason(e *armError) string {
	if q, ok := parseQuota(e.message); ok {
		return fmt.Sprintf("quota: %s %d/%d vCPU", q.name, q.usage, q.limit)
	}
	return "quota: " + e.code
}
