package emulator

import (
	"cmp"
	"fmt"
	"net/http"
)

// Error is an answer of ARM that is not a success, or the outcome of a
// long-running operation that failed.
type Error struct {
	// Status is the HTTP status code; without meaning in an operation's outcome.
	Status  int    `json:"status,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target,omitempty"`
	// RetryAfterSeconds is sent as Retry-After; 0 sends none.
	RetryAfterSeconds int `json:"retryAfterSeconds,omitempty"`
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func failure(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// The texts below are Azure's own, so that clients can be tested on them.

func errSubscription(id string) *Error {
	return failure(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id)
}

func errGroup(name string) *Error {
	return failure(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", name)
}

func errSet(group, name string) *Error {
	return failure(http.StatusNotFound, "ResourceNotFound", "The Resource 'Microsoft.Compute/virtualMachineScaleSets/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", name, group)
}

func errInstance(id string) *Error {
	e := failure(http.StatusBadRequest, "InvalidParameter", "The provided instanceId %s is not an active Virtual Machine Scale Set VM instanceId.", id)
	e.Target = "instanceIds"
	return e
}

func errForbidden(id Identity, action, scope string) *Error {
	return failure(http.StatusForbidden, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.", id.ClientID, id.ObjectID, action, scope)
}

func errLinked(id Identity, action, scope, linked, linkedScope string) *Error {
	return failure(http.StatusForbidden, "LinkedAuthorizationFailed", "The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.", id.ClientID, id.ObjectID, action, scope, linked, linkedScope)
}

func errPrecondition(etag string) *Error {
	return failure(http.StatusPreconditionFailed, "PreconditionFailed", "The precondition given in one of the request headers evaluated to false: the resource's etag is now %s.", etag)
}

func errPreempted() *Error {
	return failure(http.StatusConflict, "OperationPreempted", "The operation has been preempted by a more recent operation.")
}

func errThrottled(operation string, retryAfter int) *Error {
	e := failure(http.StatusTooManyRequests, "TooManyRequests", "The request is being throttled as the limit has been reached for operation '%s'. Please try again after '%d' seconds.", operation, retryAfter)
	e.RetryAfterSeconds = retryAfter
	return e
}

// quotaTexts is how refusals call the quotas that are not a family's.
var quotaTexts = map[string]string{RegionalQuota: "Total Regional Cores", SpotQuota: "LowPriorityCores"}

func errQuota(location string, q Quota, used, required int) *Error {
	name := cmp.Or(quotaTexts[q.Family], q.Family+" Cores")
	return failure(http.StatusConflict, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved %s quota. Additional details - Deployment Model: Resource Manager, Location: %s, Current Limit: %d, Current Usage: %d, Additional Required: %d, (Minimum) New Limit Required: %d. Please read more about quota limits at https://docs.microsoft.com/en-us/azure/azure-supportability/per-vm-quota-requests", name, location, q.Limit, used, required, used+required)
}
