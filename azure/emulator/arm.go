package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// maxBody bounds a request's body. Source: ARM's limit of 4 MB a request.
const maxBody = 4 << 20

// ARMHandler serves Azure Resource Manager. It expects TLS in front of it: the
// links in its answers say https.
func (c *Cloud) ARMHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-ms-request-id", c.requestID())
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := c.serveARM(w, r); err != nil {
			c.writeError(w, err)
		}
	})
}

func (c *Cloud) requestID() string {
	c.begin()
	defer c.end()
	return c.newUUID()
}

// serveARM takes a request through what every request to ARM passes.
func (c *Cloud) serveARM(w http.ResponseWriter, r *http.Request) *Error {
	rt, names, err := findRoute(r.Method, r.URL.Path)
	if err != nil {
		return err
	}
	if r.URL.Query().Get("api-version") == "" {
		return failure(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	id, err := c.authenticate(r)
	if err != nil {
		return err
	}
	effect := c.fault(r, rt.action, names["set"])
	if effect.Error != nil {
		return effect.Error
	}
	if rt.scope != "" {
		scope := expand(rt.scope, names, asIs)
		if err := c.authorize(id, rt.action, scope); err != nil {
			return err
		}
		if rt.action == setAction+"/write" {
			if err := c.authorizeLinked(id, rt.action, scope, names["group"], names["set"]); err != nil {
				return err
			}
		}
	}
	if !strings.EqualFold(names["subscription"], c.cfg.SubscriptionID) {
		return errSubscription(names["subscription"])
	}
	if err := c.throttle(rt, names["set"]); err != nil {
		return err
	}
	if rt.path == operationPath {
		return c.serveOperation(w, r, names["operation"])
	}
	if rt.api == "" {
		return c.serveGroup(w, names["group"])
	}
	return c.dispatch(w, r, rt, names, caller{id.Name, effect})
}

// fault returns what the script has in store for a request. It has waited the
// delay, and cut the connection if that was to happen before the request.
func (c *Cloud) fault(r *http.Request, operation, set string) Effect {
	c.begin()
	effect := c.takeFault(operation, set)
	c.end()
	if effect.Delay.Duration > 0 {
		t := c.clock.NewTimer(effect.Delay.Duration)
		defer t.Stop()
		select {
		case <-t.C():
		case <-r.Context().Done():
		}
	}
	if effect.Drop == DropBefore {
		panic(http.ErrAbortHandler)
	}
	return effect
}

func (c *Cloud) throttle(rt *route, set string) *Error {
	if set == "" {
		return nil
	}
	limit := c.cfg.Limits.Reads
	if rt.method != http.MethodGet {
		limit = c.cfg.Limits.Updates
	}
	bucket := rt.action
	if rt.method != http.MethodGet {
		bucket = "update"
	}
	if seconds := c.throttled(strings.ToLower(set)+" "+bucket, limit); seconds > 0 {
		return errThrottled(rt.action, seconds)
	}
	return nil
}

// dispatch lets the SDK's fake servers parse the request and write the answer.
// They are made anew for each request, because they would otherwise answer one
// client from what they remember of another on the same path.
func (c *Cloud) dispatch(w http.ResponseWriter, r *http.Request, rt *route, names map[string]string, who caller) *Error {
	k := &call{cloud: c, who: who, link: "https://" + r.Host, skip: r.URL.Query().Get("$skiptoken"), url: r.URL}
	req := r.WithContext(context.WithValue(r.Context(), runtime.CtxAPINameKey{}, rt.api))
	req.URL = rt.canonical(r.URL, names)
	resp, err := k.server(rt.api).Do(req)
	if who.Drop == DropAfter || r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		var answer *Error
		if errors.As(err, &answer) {
			return answer
		}
		return failure(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err)
	}
	defer resp.Body.Close()
	if k.etag != "" {
		w.Header().Set("ETag", k.etag)
	}
	if k.op != nil {
		c.writeOperationHeaders(w, k.link, k.op.id, r.URL.Query().Get("api-version"))
		if resp.StatusCode == http.StatusAccepted {
			w.WriteHeader(http.StatusAccepted)
			return nil
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // the client may be gone; nobody is left to tell
	return nil
}

func (c *Cloud) serveGroup(w http.ResponseWriter, name string) *Error {
	if !strings.EqualFold(name, c.cfg.ResourceGroup) {
		return errGroup(name)
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"id": c.cfg.groupID(), "name": c.cfg.ResourceGroup, "type": "Microsoft.Resources/resourceGroups",
		"location": c.cfg.Location, "properties": map[string]string{"provisioningState": succeeded},
	})
	return nil
}

func (c *Cloud) writeError(w http.ResponseWriter, e *Error) {
	if e.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfterSeconds))
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", c.challenge(e))
	}
	w.Header().Set("x-ms-error-code", e.Code)
	writeJSON(w, e.Status, map[string]any{"error": bodyOf(e)})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("encode answer %T: %v", body, err)) // our own types always encode
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client may be gone; nobody is left to tell
}
