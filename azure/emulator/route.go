package emulator

import (
	"net/http"
	"net/url"
	"strings"
)

// route is one operation of ARM that the emulator knows.
type route struct {
	method, path string
	// api is the name under which the SDK's fake servers dispatch it, or empty
	// if it is answered here.
	api string
	// action and scope are what a role must allow; without a scope every valid
	// token will do. scope is a prefix of path.
	action, scope string
}

const (
	subscriptionPath = "/subscriptions/{subscription}"
	groupPath        = subscriptionPath + "/resourceGroups/{group}"
	computePath      = "/providers/Microsoft.Compute"
	setPath          = groupPath + computePath + "/virtualMachineScaleSets/{set}"
	vmPath           = setPath + "/virtualMachines/{instance}"
	operationPath    = subscriptionPath + computePath + "/locations/{location}/operations/{operation}"
	setAction        = "Microsoft.Compute/virtualMachineScaleSets"
	vmAction         = setAction + "/virtualMachines"
	setsAPI          = "VirtualMachineScaleSetsClient."
	vmsAPI           = "VirtualMachineScaleSetVMsClient."
	skusAPI          = "ResourceSKUsClient."
	usagesAPI        = "UsageClient."
)

var routes = []route{
	{http.MethodGet, groupPath, "", "Microsoft.Resources/subscriptions/resourceGroups/read", groupPath},
	{http.MethodGet, operationPath, "", "Microsoft.Compute/locations/operations/read", ""},
	{http.MethodGet, subscriptionPath + computePath + "/skus", skusAPI + "NewListPager", "Microsoft.Compute/skus/read", subscriptionPath},
	{http.MethodGet, subscriptionPath + computePath + "/locations/{location}/usages", usagesAPI + "NewListPager", "Microsoft.Compute/locations/usages/read", subscriptionPath},
	{http.MethodGet, subscriptionPath + computePath + "/virtualMachineScaleSets", setsAPI + "NewListAllPager", setAction + "/read", subscriptionPath},
	{http.MethodGet, groupPath + computePath + "/virtualMachineScaleSets", setsAPI + "NewListPager", setAction + "/read", groupPath + computePath},
	{http.MethodGet, setPath, setsAPI + "Get", setAction + "/read", setPath},
	{http.MethodPatch, setPath, setsAPI + "BeginUpdate", setAction + "/write", setPath},
	{http.MethodGet, setPath + "/instanceView", setsAPI + "GetInstanceView", setAction + "/instanceView/read", setPath},
	{http.MethodPost, setPath + "/delete", setsAPI + "BeginDeleteInstances", setAction + "/delete/action", setPath},
	{http.MethodPost, setPath + "/deallocate", setsAPI + "BeginDeallocate", setAction + "/deallocate/action", setPath},
	{http.MethodPost, setPath + "/start", setsAPI + "BeginStart", setAction + "/start/action", setPath},
	{http.MethodPost, setPath + "/restart", setsAPI + "BeginRestart", setAction + "/restart/action", setPath},
	{http.MethodPost, setPath + "/reimage", setsAPI + "BeginReimage", setAction + "/reimage/action", setPath},
	{http.MethodGet, setPath + "/virtualMachines", vmsAPI + "NewListPager", vmAction + "/read", setPath},
	{http.MethodGet, vmPath, vmsAPI + "Get", vmAction + "/read", vmPath},
	{http.MethodPut, vmPath, vmsAPI + "BeginUpdate", vmAction + "/write", vmPath},
	{http.MethodGet, vmPath + "/instanceView", vmsAPI + "GetInstanceView", vmAction + "/instanceView/read", vmPath},
}

// findRoute returns the route of a request and what its path names. ARM's
// paths are matched without regard to case.
func findRoute(method, path string) (*route, map[string]string, *Error) {
	known, parts := false, split(path)
	for i := range routes {
		names, ok := match(patterns[i], parts)
		if !ok {
			continue
		}
		if routes[i].method == method {
			return &routes[i], names, nil
		}
		known = true
	}
	if known {
		return nil, nil, failure(http.StatusMethodNotAllowed, "MethodNotAllowed", "The http method '%s' is not allowed on '%s'.", method, path)
	}
	return nil, nil, failure(http.StatusNotFound, "InvalidResourceType", "The path '%s' is not one that this emulator knows.", path)
}

// patterns are the routes' paths in parts.
var patterns = func() [][]string {
	all := make([][]string, len(routes))
	for i := range routes {
		all[i] = split(routes[i].path)
	}
	return all
}()

func split(path string) []string { return strings.Split(strings.TrimSuffix(path, "/"), "/") }

func match(want, got []string) (map[string]string, bool) {
	if len(want) != len(got) {
		return nil, false
	}
	names := map[string]string{}
	for i, w := range want {
		if name, ok := strings.CutPrefix(w, "{"); ok && got[i] != "" {
			names[strings.TrimSuffix(name, "}")] = got[i]
		} else if !strings.EqualFold(w, got[i]) {
			return nil, false
		}
	}
	return names, true
}

// expand puts names into a pattern; escape is applied to each of them.
func expand(pattern string, names map[string]string, escape func(string) string) string {
	for k, v := range names {
		pattern = strings.ReplaceAll(pattern, "{"+k+"}", escape(v))
	}
	return pattern
}

func asIs(s string) string { return s }

// canonical returns the URL with the path's fixed parts spelled as the SDK's
// fake servers want them.
func (rt *route) canonical(u *url.URL, names map[string]string) *url.URL {
	v := *u
	v.Path = expand(rt.path, names, asIs)
	v.RawPath = expand(rt.path, names, url.PathEscape)
	return &v
}
