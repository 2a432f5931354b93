package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// VirtualMachineContributor is Azure's built-in role of that name.
const VirtualMachineContributor = "Virtual Machine Contributor"

// joinAction is what Azure asks for at the subnet when a scale set in it is changed.
// Source: Azure documentation, "Troubleshoot LinkedAuthorizationFailed".
const joinAction = "Microsoft.Network/virtualNetworks/subnets/join/action"

// roleActions are the actions of the built-in roles, as far as they concern
// this emulator. Source: Azure documentation, "Azure built-in roles".
var roleActions = map[string][]string{
	VirtualMachineContributor: {
		"Microsoft.Compute/virtualMachines/*",
		"Microsoft.Compute/virtualMachineScaleSets/*",
		"Microsoft.Compute/locations/*",
		joinAction,
		"Microsoft.Resources/subscriptions/resourceGroups/read",
	},
	"Reader": {"*/read"},
}

// RoleAssignment allows an identity actions on everything below a scope.
type RoleAssignment struct {
	// Identity is the name of the identity.
	Identity string `json:"identity"`
	// Scope is the resource ID below which the assignment holds.
	Scope string `json:"scope"`
	// Role is a built-in role: "Virtual Machine Contributor" or "Reader".
	Role string `json:"role,omitempty"`
	// Actions are allowed besides those of the role; "*" stands for any text.
	Actions []string `json:"actions,omitempty"`
}

func (r RoleAssignment) check() error {
	if r.Role == "" {
		return nil
	}
	if _, ok := roleActions[r.Role]; !ok {
		return fmt.Errorf("role %q of identity %s is not known here: list its actions under \"actions\"", r.Role, r.Identity)
	}
	return nil
}

func (r RoleAssignment) allows(identity, action, scope string) bool {
	inScope := strings.EqualFold(scope, r.Scope) || strings.HasPrefix(strings.ToLower(scope), strings.ToLower(r.Scope)+"/")
	if r.Identity != identity || !inScope {
		return false
	}
	matches := func(pattern string) bool { return wildcard(pattern, action) }
	return slices.ContainsFunc(roleActions[r.Role], matches) || slices.ContainsFunc(r.Actions, matches)
}

// Roles returns the role assignments.
func (c *Cloud) Roles() []RoleAssignment {
	c.begin()
	defer c.end()
	return slices.Clone(c.roles)
}

// SetRoles replaces the role assignments. It holds from the next request on.
func (c *Cloud) SetRoles(roles []RoleAssignment) error {
	var errs []error
	for _, r := range roles {
		errs = append(errs, r.check())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.begin()
	defer c.end()
	c.roles = slices.Clone(roles)
	return nil
}

// authorize refuses an action that no role assignment allows.
func (c *Cloud) authorize(id Identity, action, scope string) *Error {
	if c.allows(id, action, scope) {
		return nil
	}
	return errForbidden(id, action, scope)
}

// authorizeLinked refuses a change of a scale set to whoever may not join its
// subnet. A set that does not exist has none.
func (c *Cloud) authorizeLinked(id Identity, action, scope, group, set string) *Error {
	c.begin()
	found, err := c.findSet(group, set)
	c.end()
	if err != nil || found.Subnet == "" || c.allows(id, joinAction, found.Subnet) {
		return nil
	}
	return errLinked(id, action, scope, joinAction, found.Subnet)
}

func (c *Cloud) allows(id Identity, action, scope string) bool {
	c.begin()
	defer c.end()
	return slices.ContainsFunc(c.roles, func(r RoleAssignment) bool { return r.allows(id.Name, action, scope) })
}

// claims are those of a real access token that clients look at.
type claims struct {
	jwt.RegisteredClaims
	AppID    string `json:"appid"`
	ObjectID string `json:"oid"`
	TenantID string `json:"tid"`
}

// signingKey belongs to the tenant, as in Azure: azidentity's token cache is
// shared by the whole process, so a token may outlive the emulator that issued
// it and must be good at the next one of the same tenant.
func (c *Cloud) signingKey() []byte { return []byte("tidegate emulator, tenant " + c.cfg.TenantID) }

func (c *Cloud) issuer() string { return "https://sts.windows.net/" + c.cfg.TenantID + "/" }

// issueToken returns an access token and when it expires.
func (c *Cloud) issueToken(id Identity, resource string) (token string, issued, expires time.Time, err error) {
	issued = c.clock.Now().Truncate(time.Second)
	expires = issued.Add(c.cfg.TokenLifetime.Duration)
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    c.issuer(),
			Subject:   id.ObjectID,
			Audience:  jwt.ClaimStrings{resource},
			IssuedAt:  jwt.NewNumericDate(issued),
			NotBefore: jwt.NewNumericDate(issued),
			ExpiresAt: jwt.NewNumericDate(expires),
		},
		AppID: id.ClientID, ObjectID: id.ObjectID, TenantID: c.cfg.TenantID,
	}).SignedString(c.signingKey())
	return token, issued, expires, err
}

// audiences are those under which ARM accepts tokens, besides its own address.
var audiences = []string{"https://management.azure.com", "https://management.core.windows.net", "https://management.usgovcloudapi.net", "https://management.chinacloudapi.cn"}

// authenticate returns the identity whose token the request carries.
func (c *Cloud) authenticate(r *http.Request) (Identity, *Error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return Identity{}, failure(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	got, err := c.read(token)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, failure(http.StatusUnauthorized, "ExpiredAuthenticationToken", "The access token expiry UTC time '%s' is earlier than current UTC time '%s'.", got.ExpiresAt.UTC().Format(time.DateTime), c.clock.Now().UTC().Format(time.DateTime))
	case err != nil:
		return Identity{}, failure(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
	}
	own := "https://" + r.Host
	if len(got.Audience) != 1 || !slices.Contains(append(slices.Clone(audiences), own), strings.TrimSuffix(got.Audience[0], "/")) {
		return Identity{}, failure(http.StatusUnauthorized, "InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or resource '%s'. It should exactly match with one of the allowed audiences 'https://management.core.windows.net/','https://management.azure.com/'.", strings.Join(got.Audience, ","))
	}
	for _, id := range c.cfg.identities() {
		if id.ObjectID == got.ObjectID {
			return id, nil
		}
	}
	return Identity{}, failure(http.StatusUnauthorized, "InvalidAuthenticationToken", "The identity '%s' of the access token does not exist.", got.ObjectID)
}

// read returns what the token says, and what is wrong with it. A client sends the
// same one for hours: what was found genuine is looked at once.
func (c *Cloud) read(token string) (claims, error) {
	c.begin()
	got, genuine := c.genuine[token]
	c.end()
	if genuine && c.clock.Now().Before(got.ExpiresAt.Time) {
		return got, nil
	}
	_, err := jwt.ParseWithClaims(token, &got, func(*jwt.Token) (any, error) { return c.signingKey(), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(c.issuer()), jwt.WithTimeFunc(c.clock.Now), jwt.WithExpirationRequired())
	if err == nil {
		c.begin()
		c.genuine[token] = got
		c.end()
	}
	return got, err
}

// challenge is the WWW-Authenticate header of a 401.
func (c *Cloud) challenge(e *Error) string {
	return fmt.Sprintf(`Bearer authorization_uri="https://login.windows.net/%s", error="invalid_token", error_description="%s"`, c.cfg.TenantID, e.Message)
}
