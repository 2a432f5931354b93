package emulator

import (
	"net/http"
	"strconv"
)

// monitor is the query parameter by which a Location link differs from an
// Azure-AsyncOperation link to the same operation.
const monitor = "monitor"

// writeOperationHeaders tells the client where to ask for the operation.
// Source: Azure Resource Manager RPC, "Asynchronous operations".
func (c *Cloud) writeOperationHeaders(w http.ResponseWriter, base, id, apiVersion string) {
	link := base + expand(operationPath, map[string]string{
		"subscription": c.cfg.SubscriptionID, "location": c.cfg.Location, "operation": id,
	}, asIs) + "?api-version=" + apiVersion
	w.Header().Set("Azure-AsyncOperation", link)
	w.Header().Set("Location", link+"&"+monitor+"=true")
	w.Header().Set("Retry-After", c.pollAfter())
}

func (c *Cloud) pollAfter() string { return strconv.Itoa(ceilSeconds(c.cfg.PollAfter.Duration)) }

// serveOperation answers a client that asks how an operation is doing: with a
// status document, or, behind a Location link, with 202 until it has ended.
func (c *Cloud) serveOperation(w http.ResponseWriter, r *http.Request, id string) *Error {
	status := c.operation(id)
	if status == nil {
		return failure(http.StatusNotFound, "NotFound", "The operation '%s' could not be found.", id)
	}
	running := status.EndTime == nil
	if running {
		w.Header().Set("Retry-After", c.pollAfter())
	}
	if r.URL.Query().Get(monitor) == "" {
		writeJSON(w, http.StatusOK, status)
		return nil
	}
	switch {
	case running:
		w.Header().Set("Location", "https://"+r.Host+r.URL.RequestURI())
		w.WriteHeader(http.StatusAccepted)
	case status.Error != nil:
		return &Error{Status: http.StatusConflict, Code: status.Error.Code, Message: status.Error.Message, Target: status.Error.Target}
	default:
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}
