package azure

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// refusals is what Azure's refusals to grow mean; the first match wins. Where
// stayAway is 0, Azure's Retry-After counts, and without one the caller's own
// back-off. docs/azure-errors.md shows the same table.
// Source: Azure documentation, "Resolve errors for ... allocation failure",
// "SKU not available", "quota exceeded", and Azure's answers themselves.
var refusals = []struct {
	// name is how the page calls the row.
	name  string
	match func(error) bool
	// reason is what a waiting pod is told.
	reason func(error) string
	// changed asks for a fresh look instead of a time to stay away.
	changed  bool
	stayAway time.Duration
}{
	{name: "PreconditionFailed", match: status(http.StatusPreconditionFailed),
		reason: says("the scale set was changed by someone else meanwhile"), changed: true},
	{name: "OperationPreempted", match: code("OperationPreempted"),
		reason: says("a newer operation on the scale set took over"), changed: true},
	{name: "OperationNotAllowed (quota), QuotaExceeded", match: isQuota, reason: quotaReason},
	{name: "AllocationFailed, OverconstrainedAllocationRequest", match: code("AllocationFailed", "OverconstrainedAllocationRequest"),
		reason: says("Azure has no room for this machine type in the region at present")},
	{name: "ZonalAllocationFailed, OverconstrainedZonalAllocationRequest", match: code("ZonalAllocationFailed", "OverconstrainedZonalAllocationRequest"),
		reason: says("Azure has no room for this machine type in the zone at present")},
	{name: "OSProvisioningTimedOut, OSProvisioningClientError, VMExtensionProvisioningError, VMExtensionProvisioningTimeout",
		match:  code("OSProvisioningTimedOut", "OSProvisioningClientError", "VMExtensionProvisioningError", "VMExtensionProvisioningTimeout"),
		reason: says("the machines did not finish setting themselves up; look at their image, cloud-init and extensions")},
	{name: "SkuNotAvailable", match: code("SkuNotAvailable"),
		reason: says("this machine type is not offered to the subscription here"), stayAway: 30 * time.Minute},
	{name: "RequestDisallowedByPolicy", match: code("RequestDisallowedByPolicy"),
		reason: says("an Azure policy forbids it"), stayAway: 10 * time.Minute},
	{name: "ScopeLocked", match: code("ScopeLocked"),
		reason: says("a resource lock forbids it"), stayAway: 10 * time.Minute},
	{name: "AuthorizationFailed, LinkedAuthorizationFailed", match: isDenied,
		reason: says(fmt.Sprintf("Tidegate's identity lacks the role %q", neededRole))},
	{name: "403 of other kinds", match: status(http.StatusForbidden),
		reason: says("Azure forbids it"), stayAway: time.Minute},
	{name: "401, no token, no answer", match: isAccess,
		reason: says("Tidegate has no access to Azure")},
	{name: "ResourceNotFound", match: func(err error) bool { return status(http.StatusNotFound)(err) || armCode(err) == "ResourceNotFound" },
		reason: says("the scale set is gone"), changed: true},
	{name: "OperationNotAllowed (other)", match: code("OperationNotAllowed"),
		reason: says("Azure does not allow the scale set to change at present"), stayAway: time.Minute},
	{name: "Conflict", match: status(http.StatusConflict),
		reason: says("another operation on the scale set is in progress"), stayAway: 15 * time.Second},
	{name: "TooManyRequests", match: isThrottled,
		reason: says("Azure limits the rate of requests")},
	{name: "5xx", match: func(err error) bool { e, ok := errors.AsType[*armError](err); return ok && faulty(e.status) },
		reason: says("Azure has a fault of its own"), stayAway: 30 * time.Second},
	{name: "ProvisioningState/Failed", match: code("ProvisioningState/Failed", "ProvisioningState/Canceled"),
		reason: says("Azure could not provide the machines, for reasons that the scale set does not show")},
	{name: "anything else", match: func(err error) bool { _, ok := errors.AsType[*armError](err); return ok },
		reason: func(err error) string { return "Azure refuses: " + armCode(err) }},
}

func status(want int) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*armError](err)
		return ok && e.status == want
	}
}

func code(want ...string) func(error) bool {
	return func(err error) bool { return slices.Contains(want, armCode(err)) }
}

func armCode(err error) string {
	if e, ok := errors.AsType[*armError](err); ok {
		return e.code
	}
	return ""
}

func isAccess(err error) bool {
	_, ok := errors.AsType[*accessError](err)
	return ok
}

func isDenied(err error) bool {
	e, ok := errors.AsType[*accessError](err)
	return ok && e.denied
}

func isThrottled(err error) bool {
	_, ok := errors.AsType[*throttledError](err)
	return ok
}

func says(reason string) func(error) string {
	return func(error) string { return reason }
}

// refusal says in a waiting pod's terms why the pool did not grow by want
// machines. err is one that explain has seen.
func refusal(err error, want int) *capacity.GrowError {
	for _, row := range refusals {
		if !row.match(err) {
			continue
		}
		g := &capacity.GrowError{Reason: row.reason(err), Changed: row.changed, RetryAfter: max(asksToWait(err), row.stayAway), Err: err}
		if e, ok := errors.AsType[*armError](err); ok {
			if q, ok := parseQuota(e.message); ok {
				g.Fits = q.fits(want)
			}
		}
		return g
	}
	return &capacity.GrowError{Reason: "the request was cut short", Err: err}
}

// asksToWait is how long Azure asks to be left alone, 0 if it does not.
func asksToWait(err error) time.Duration {
	if e, ok := errors.AsType[*throttledError](err); ok {
		return e.wait
	}
	if e, ok := errors.AsType[*armError](err); ok {
		return e.retryAfter
	}
	return 0
}
