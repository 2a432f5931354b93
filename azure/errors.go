package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// The actions of Azure's role-based access control that Tidegate needs. The
// role Virtual Machine Contributor has them all.
// Source: Azure documentation, "Azure built-in roles for Compute".
const (
	actionReadSets      = "Microsoft.Compute/virtualMachineScaleSets/read"
	actionReadInstances = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read"
	actionWriteSet      = "Microsoft.Compute/virtualMachineScaleSets/write"
	actionDelete        = "Microsoft.Compute/virtualMachineScaleSets/delete/action"
	actionWriteInstance = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/write"
	actionRestart       = "Microsoft.Compute/virtualMachineScaleSets/restart/action"
	actionDeallocate    = "Microsoft.Compute/virtualMachineScaleSets/deallocate/action"
	actionStart         = "Microsoft.Compute/virtualMachineScaleSets/start/action"
	actionReimage       = "Microsoft.Compute/virtualMachineScaleSets/reimage/action"

	// neededRole is the built-in role 9980e02c-c2be-4d73-94e8-173b1dc7cf3c.
	neededRole = "Virtual Machine Contributor"

	// These two are a matter of the subscription, which that role on a resource
	// group does not reach. Tidegate can do without them.
	actionReadSKUs   = "Microsoft.Compute/skus/read"
	actionReadUsages = "Microsoft.Compute/locations/usages/read"

	// readingRole is the built-in role that has both.
	readingRole = "Reader"
)

// armError is a refusal by Azure, in one line.
type armError struct {
	// status is the HTTP status; 200 if a long-running operation failed.
	status     int
	code       string
	message    string
	retryAfter time.Duration
	err        error // the SDK's own, which is a page of text
}

func (e *armError) Error() string {
	s := fmt.Sprintf("%s (HTTP %d)", e.code, e.status)
	if e.message != "" {
		s += ": " + e.message
	}
	return s
}

func (e *armError) Unwrap() error { return e.err }

// outcome puts the result of an action into words and remembers what it says
// of Tidegate's access to Azure.
func (c *Cloud) outcome(conn *connection, action string, err error) error {
	err = conn.explain(action, err)
	c.health.note(action, err)
	return err
}

// explain turns the SDK's errors into sentences.
func (conn *connection) explain(action string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if e, ok := errors.AsType[*accessError](err); ok {
		return e // from the credential, wrapped by the SDK
	}
	if e, ok := errors.AsType[*throttledError](err); ok {
		return e
	}
	response, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return &accessError{
			sentence: fmt.Sprintf("Azure Resource Manager at %s does not answer; check the network from this VM to it", conn.arm),
			sent:     true,
			err:      err,
		}
	}
	e := newARMError(response)
	switch {
	case e.status == http.StatusUnauthorized:
		return &accessError{
			sentence: fmt.Sprintf("Azure Resource Manager at %s does not accept the token of %s; is the VM's clock right, and the identity in the same tenant?", conn.arm, conn.identity),
			err:      e,
		}
	case e.code == "AuthorizationFailed", e.code == "LinkedAuthorizationFailed":
		return conn.missingRole(action, e)
	}
	return e
}

func newARMError(response *azcore.ResponseError) *armError {
	e := &armError{status: response.StatusCode, code: response.ErrorCode, err: response}
	if e.code == "" {
		e.code = http.StatusText(e.status)
	}
	if response.RawResponse == nil {
		return e
	}
	e.retryAfter = retryAfter(response.RawResponse)
	var doc struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if body, err := runtime.Payload(response.RawResponse); err == nil && json.Unmarshal(body, &doc) == nil {
		e.message = strings.Join(strings.Fields(doc.Error.Message), " ")
	}
	return e
}

// What ARM's refusals name, in its words.
var (
	deniedAction = regexp.MustCompile(`perform action(?:\(s\))? '([^']+)'`)
	linkedScope  = regexp.MustCompile(`linked scope\(s\) '([^',]+)`)
	objectID     = regexp.MustCompile(`object id '([^']+)'`)
)

// missingRole says which role is missing, for whom and where.
func (conn *connection) missingRole(action string, e *armError) error {
	// A linked refusal first names the action that is allowed.
	if all := deniedAction.FindAllStringSubmatch(e.message, -1); len(all) > 0 {
		action = all[len(all)-1][1]
	}
	role, scope := neededRole, fmt.Sprintf("/subscriptions/%s/resourceGroups/%s", conn.machine.SubscriptionID, conn.machine.ResourceGroup)
	if action == actionReadSKUs || action == actionReadUsages {
		role, scope = readingRole, "/subscriptions/"+conn.machine.SubscriptionID
	}
	if m := linkedScope.FindStringSubmatch(e.message); m != nil {
		scope = m[1]
	}
	assignee := "<object ID of the identity>"
	if m := objectID.FindStringSubmatch(e.message); m != nil {
		assignee = m[1]
	}
	return &accessError{
		sentence: fmt.Sprintf("Azure refuses %s to %s: it lacks the role %q on %s; assign it, and Tidegate goes on by itself: az role assignment create --role %q --scope %s --assignee-object-id %s --assignee-principal-type ServicePrincipal",
			action, conn.identity, role, scope, role, scope, assignee),
		denied: true,
		err:    e,
	}
}
