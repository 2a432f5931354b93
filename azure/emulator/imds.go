package emulator

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// API versions of IMDS, each endpoint's oldest that is served. Versions are
// dates, so that their text sorts.
const (
	instanceVersion  = "2021-02-01"
	tokenVersion     = "2018-02-01"
	scheduledVersion = "2020-07-01"
)

// IMDSHandler serves the master's instance metadata service, and under
// /emulator/ what only the emulator has.
func (c *Cloud) IMDSHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metadata/", c.metadataHandler(c.masterHost()))
	mux.HandleFunc(machinePath+"metadata/", c.serveMachine)
	mux.Handle("/emulator/", c.adminHandler())
	return mux
}

// metadataHandler serves the instance metadata service of one machine.
func (c *Cloud) metadataHandler(h host) http.Handler {
	mux := http.NewServeMux()
	for path, endpoint := range map[string]struct {
		name, oldest string
		serve        func(host, http.ResponseWriter, *http.Request)
	}{
		"/metadata/instance":              {IMDSInstance, instanceVersion, c.serveInstance},
		"/metadata/identity/oauth2/token": {IMDSToken, tokenVersion, c.serveToken},
		"/metadata/scheduledevents":       {IMDSScheduledEvents, scheduledVersion, c.serveScheduledEvents},
	} {
		mux.HandleFunc(path, c.imds(h, endpoint.name, endpoint.oldest, func(w http.ResponseWriter, r *http.Request) { endpoint.serve(h, w, r) }))
	}
	mux.HandleFunc("/metadata/", func(w http.ResponseWriter, r *http.Request) {
		imdsError(w, http.StatusNotFound, "not_found", "No such resource: "+r.URL.Path)
	})
	return mux
}

// imds does what every IMDS endpoint does before its own work.
// Source: Azure documentation, "Azure Instance Metadata Service".
func (c *Cloud) imds(h host, name, oldest string, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		effect := c.fault(r, name, "")
		if e := effect.Error; e != nil {
			imdsError(w, e.Status, e.Code, e.Message)
			return
		}
		switch version := r.URL.Query().Get("api-version"); {
		case !strings.EqualFold(r.Header.Get("Metadata"), "true"):
			imdsError(w, http.StatusBadRequest, "invalid_request", "Required metadata header not specified")
			return
		case r.Header.Get("X-Forwarded-For") != "":
			imdsError(w, http.StatusBadRequest, "invalid_request", "Requests that were forwarded by a proxy are refused")
			return
		case r.Method != http.MethodGet && (name != IMDSScheduledEvents || r.Method != http.MethodPost):
			w.Header().Set("Allow", http.MethodGet)
			imdsError(w, http.StatusMethodNotAllowed, "method_not_allowed", "Method "+r.Method+" is not allowed")
			return
		case len(version) < len(oldest) || version < oldest:
			imdsError(w, http.StatusBadRequest, "invalid_request", fmt.Sprintf("api-version %q is not supported: use %s", version, oldest))
			return
		}
		if seconds := c.throttled("imds/"+h.vmID, c.cfg.Limits.IMDS); seconds > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(seconds))
			imdsError(w, http.StatusTooManyRequests, "too_many_requests", "Too many requests: at most 5 a second are served")
			return
		}
		if effect.Drop == DropAfter {
			panic(http.ErrAbortHandler) // a read has no effect to leave behind
		}
		serve(w, r)
	}
}

func imdsError(w http.ResponseWriter, status int, code, text string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": text})
}

func (c *Cloud) serveInstance(h host, w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"compute": map[string]any{
			"azEnvironment":     c.cfg.Environment,
			"location":          c.cfg.Location,
			"name":              h.name,
			"osType":            "Linux",
			"provider":          "Microsoft.Compute",
			"resourceGroupName": c.cfg.ResourceGroup,
			"resourceId":        h.resourceID,
			"subscriptionId":    c.cfg.SubscriptionID,
			"tagsList":          []any{},
			"vmId":              h.vmID,
			"vmScaleSetName":    h.scaleSet,
			"vmSize":            h.size,
			"zone":              h.zone,
		},
		"network": map[string]any{"interface": []any{}},
	})
}

// serveToken issues an access token. All its values are strings, as IMDS sends
// them.
func (c *Cloud) serveToken(h host, w http.ResponseWriter, r *http.Request) {
	if h.set != nil {
		imdsError(w, http.StatusBadRequest, "invalid_request", "Identity not found")
		return
	}
	q := r.URL.Query()
	resource := q.Get("resource")
	if resource == "" {
		imdsError(w, http.StatusBadRequest, "invalid_resource", "AADSTS50001: The application named  was not found in the tenant.")
		return
	}
	id, problem := c.selectIdentity(q.Get("client_id"), q.Get("object_id"), q.Get("msi_res_id")+q.Get("mi_res_id"))
	if problem != "" {
		imdsError(w, http.StatusBadRequest, "invalid_request", problem)
		return
	}
	token, issued, expires, err := c.issueToken(id, resource)
	if err != nil {
		imdsError(w, http.StatusInternalServerError, "unknown", "sign the token: "+err.Error())
		return
	}
	lifetime := strconv.Itoa(int(expires.Sub(issued).Seconds()))
	writeJSON(w, http.StatusOK, map[string]string{
		"access_token":   token,
		"client_id":      id.ClientID,
		"expires_in":     lifetime,
		"expires_on":     strconv.FormatInt(expires.Unix(), 10),
		"ext_expires_in": lifetime,
		"not_before":     strconv.FormatInt(issued.Unix(), 10),
		"resource":       resource,
		"token_type":     "Bearer",
	})
}

// selectIdentity picks the identity that a token request means, or says in
// IMDS's words why there is none. Without a selector it is the system-assigned
// identity, or else the only user-assigned one.
func (c *Cloud) selectIdentity(clientID, objectID, resourceID string) (Identity, string) {
	ids := c.cfg.identities()
	if clientID == "" && objectID == "" && resourceID == "" {
		switch {
		case len(ids) == 0:
			return Identity{}, "Identity not found"
		case !*c.cfg.SystemAssigned && len(ids) > 1:
			return Identity{}, "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"
		}
		return ids[0], ""
	}
	n := slices.IndexFunc(ids, func(id Identity) bool {
		// The system-assigned identity has no resource ID of its own.
		return clientID != "" && strings.EqualFold(id.ClientID, clientID) ||
			objectID != "" && strings.EqualFold(id.ObjectID, objectID) ||
			resourceID != "" && id.Name != SystemAssignedName && strings.EqualFold(id.ResourceID, resourceID)
	})
	if n < 0 {
		return Identity{}, "Identity not found"
	}
	return ids[n], ""
}
