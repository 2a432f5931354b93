package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"
)

// Config describes the emulated subscription. The zero value of a field means
// the default that its comment names.
type Config struct {
	// SubscriptionID and TenantID default to fixed UUIDs.
	SubscriptionID string `json:"subscriptionId,omitempty"`
	TenantID       string `json:"tenantId,omitempty"`
	// ResourceGroup holds the master and every scale set; "tidegate".
	ResourceGroup string `json:"resourceGroup,omitempty"`
	// Location is the region; "westeurope".
	Location string `json:"location,omitempty"`
	// Environment is what IMDS reports as azEnvironment; "AzurePublicCloud".
	Environment string `json:"environment,omitempty"`
	// Master is the virtual machine whose IMDS is served.
	Master Master `json:"master,omitempty"`
	// SystemAssigned says whether the master has a system-assigned identity;
	// true.
	SystemAssigned *bool `json:"systemAssigned,omitempty"`
	// UserAssigned are the master's user-assigned identities.
	UserAssigned []Identity `json:"userAssigned,omitempty"`
	// Roles are the role assignments. Left out, every identity is Virtual
	// Machine Contributor of the resource group; an empty list grants nothing.
	Roles []RoleAssignment `json:"roles"`
	// TokenLifetime of the tokens that IMDS issues; 24 h.
	TokenLifetime metav1.Duration `json:"tokenLifetime,omitempty"`
	// ScaleSets are the sets that exist at the start.
	ScaleSets []ScaleSet `json:"scaleSets,omitempty"`
	// Quotas bound the vCPUs in use; what is not listed has no bound.
	Quotas []Quota `json:"quotas,omitempty"`
	// Limits are the request limits.
	Limits Limits `json:"limits,omitempty"`
	// DeleteTime is how long a deletion or a deallocation takes; 1 s to 3 s.
	DeleteTime Range `json:"deleteTime,omitempty"`
	// PageSize is the most items of one list answer; 100.
	PageSize int `json:"pageSize,omitempty"`
	// PollAfter is the Retry-After of an operation in progress, rounded up to
	// seconds; 1 s.
	PollAfter metav1.Duration `json:"pollAfter,omitempty"`
	// Seed makes every random choice reproducible.
	Seed uint64 `json:"seed,omitempty"`

	// IMDSAddress and ARMAddress are where Server listens; "127.0.0.1:0".
	IMDSAddress string `json:"imdsAddress,omitempty"`
	ARMAddress  string `json:"armAddress,omitempty"`

	// Clock is the time of everything; the real clock.
	Clock clock.WithTicker `json:"-"`
	// Observers learn of machines that come and go.
	Observers []Observer `json:"-"`
}

// Master is the virtual machine on which the client believes to run.
type Master struct {
	// Name of the virtual machine; "master".
	Name string `json:"name,omitempty"`
	// VMID defaults to a UUID derived from the name.
	VMID string `json:"vmId,omitempty"`
	// Size of the virtual machine; "Standard_D2s_v5".
	Size string `json:"size,omitempty"`
	// ScaleSet is the set whose instance 0 the machine is; empty for none.
	ScaleSet string `json:"vmScaleSetName,omitempty"`
}

// Identity is a managed identity.
type Identity struct {
	// Name of a user-assigned identity; SystemAssignedName for the master's own.
	Name string `json:"name"`
	// ClientID, ObjectID and ResourceID default to values derived from the name.
	ClientID   string `json:"clientId,omitempty"`
	ObjectID   string `json:"objectId,omitempty"`
	ResourceID string `json:"resourceId,omitempty"`
}

// SystemAssignedName names the master's system-assigned identity in role
// assignments and in the history.
const SystemAssignedName = "system"

// ScaleSet describes a Uniform scale set as it is before the first request.
type ScaleSet struct {
	// Name of the set; it is also the prefix of computer names.
	Name string `json:"name"`
	// Size is the VM size; "Standard_D8s_v5".
	Size string `json:"size,omitempty"`
	// Capacity is how many machines run at the start.
	Capacity int `json:"capacity,omitempty"`
	// Tags are the set's Azure tags.
	Tags map[string]string `json:"tags,omitempty"`
	// Zones are the availability zones over which machines are spread.
	Zones []string `json:"zones,omitempty"`
	// Subnet is the resource ID of the subnet that the machines are in: whoever
	// changes the set must be allowed to join it. Empty asks nobody for that.
	Subnet string `json:"subnet,omitempty"`
	// Flexible makes the set one of orchestration mode Flexible, which clients
	// see in lists; it cannot be scaled here.
	Flexible bool `json:"flexible,omitempty"`
	// Spot makes the machines Spot machines.
	Spot bool `json:"spot,omitempty"`
	// OSDiskGB is the size of the machines' OS disk as the set's model says it;
	// 0 leaves it to the image, and the model says nothing.
	OSDiskGB int `json:"osDiskGB,omitempty"`
	// TerminateNotice is how long before a machine is deleted its Terminate event
	// is announced, unless it is approved; 0 is Azure's default of none.
	TerminateNotice metav1.Duration `json:"terminateNotice,omitempty"`
	// ReuseIDs gives a new machine the lowest instance ID that is free, and so
	// also the computer name of a machine that is gone; without it IDs rise.
	ReuseIDs bool `json:"reuseIds,omitempty"`
	// BootTime is how long a machine takes from the request until its agent
	// runs; 8 s to 15 s. Azure reports it provisioned after half of that.
	BootTime Range `json:"bootTime,omitempty"`
	// Shape is what a machine offers; known sizes need none.
	Shape *Shape `json:"shape,omitempty"`
	// Node is what the set's cloud-init adds to the Kubernetes node.
	Node NodeTemplate `json:"node,omitempty"`
}

// NodeTemplate is what a set's cloud-init adds to the nodes of its machines.
type NodeTemplate struct {
	Labels    map[string]string   `json:"labels,omitempty"`
	Taints    []corev1.Taint      `json:"taints,omitempty"`
	Resources corev1.ResourceList `json:"resources,omitempty"`
	// Generation1 makes nodes report their system UUID as generation 1
	// machines do: the first three fields byte-swapped.
	Generation1 bool `json:"generation1,omitempty"`
}

// Range is a span of time from which a duration is drawn evenly.
type Range struct {
	Min metav1.Duration `json:"min"`
	Max metav1.Duration `json:"max"`
}

// Between returns the range from lo to hi.
func Between(lo, hi time.Duration) Range {
	return Range{Min: metav1.Duration{Duration: lo}, Max: metav1.Duration{Duration: hi}}
}

// Quota is an approved number of vCPUs.
type Quota struct {
	// Family is the name of the VM family, such as "standardDSv5Family", or
	// RegionalQuota or SpotQuota.
	Family string `json:"family"`
	// Limit is the approved number of vCPUs.
	Limit int `json:"limit"`
	// UsedElsewhere are vCPUs that other machines of the subscription use.
	UsedElsewhere int `json:"usedElsewhere,omitempty"`
}

// The quotas that count machines of every family. Spot machines count against
// SpotQuota and no other.
// Source: Azure documentation, "Spot quota", and the Usage API's own names.
const (
	RegionalQuota = "cores"
	SpotQuota     = "lowPriorityCores"
)

// LoadConfig reads a configuration from a YAML file.
func LoadConfig(file string) (Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("read the emulator's configuration: %w", err)
	}
	var cfg Config
	if err := yaml.UnmarshalStrict(b, &cfg); err != nil {
		return Config{}, fmt.Errorf("parse the emulator's configuration %s: %w", file, err)
	}
	return cfg, nil
}

// complete fills in the defaults and checks the rest.
func (c *Config) complete() error {
	c.SubscriptionID = cmp.Or(c.SubscriptionID, "00000000-0000-4000-8000-000000000001")
	c.TenantID = cmp.Or(c.TenantID, "00000000-0000-4000-8000-000000000002")
	c.ResourceGroup = cmp.Or(c.ResourceGroup, "tidegate")
	c.Location = cmp.Or(c.Location, "westeurope")
	c.Environment = cmp.Or(c.Environment, "AzurePublicCloud")
	c.Master.Name = cmp.Or(c.Master.Name, "master")
	c.Master.VMID = cmp.Or(c.Master.VMID, c.derivedID("vm", c.Master.Name))
	c.Master.Size = cmp.Or(c.Master.Size, "Standard_D2s_v5")
	c.TokenLifetime.Duration = cmp.Or(c.TokenLifetime.Duration, 24*time.Hour)
	c.DeleteTime = cmp.Or(c.DeleteTime, Between(time.Second, 3*time.Second))
	c.PageSize = cmp.Or(c.PageSize, 100)
	c.PollAfter.Duration = cmp.Or(c.PollAfter.Duration, time.Second)
	c.IMDSAddress = cmp.Or(c.IMDSAddress, "127.0.0.1:0")
	c.ARMAddress = cmp.Or(c.ARMAddress, "127.0.0.1:0")
	c.Limits.complete()
	if c.SystemAssigned == nil {
		on := true
		c.SystemAssigned = &on
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	for i := range c.UserAssigned {
		c.completeIdentity(&c.UserAssigned[i])
	}
	if c.Roles == nil {
		for _, id := range c.identities() {
			c.Roles = append(c.Roles, RoleAssignment{Identity: id.Name, Role: VirtualMachineContributor, Scope: c.groupID()})
		}
	}
	var errs []error
	for _, r := range c.Roles {
		errs = append(errs, r.check())
	}
	names := map[string]bool{}
	for i := range c.ScaleSets {
		s := &c.ScaleSets[i]
		errs = append(errs, s.complete())
		if key := strings.ToLower(s.Name); names[key] {
			errs = append(errs, fmt.Errorf("scale set %q is listed twice: names differ by more than case", s.Name))
		} else {
			names[key] = true
		}
	}
	return errors.Join(errs...)
}

func (s *ScaleSet) complete() error {
	if s.Name == "" {
		return errors.New("a scale set has no name: give it one")
	}
	if s.Capacity < 0 || s.Capacity > maxCapacity {
		return fmt.Errorf("scale set %s: capacity %d: want 0 to %d", s.Name, s.Capacity, maxCapacity)
	}
	s.Size = cmp.Or(s.Size, "Standard_D8s_v5")
	s.BootTime = cmp.Or(s.BootTime, Between(8*time.Second, 15*time.Second))
	if s.Shape == nil {
		shape, ok := knownShapes[s.Size]
		if !ok {
			return fmt.Errorf("scale set %s: size %s is not known here: describe it under \"shape\"", s.Name, s.Size)
		}
		s.Shape = &shape
	}
	return nil
}

// identities returns every identity of the master.
func (c *Config) identities() []Identity {
	var ids []Identity
	if *c.SystemAssigned {
		system := Identity{Name: SystemAssignedName, ResourceID: c.masterID()}
		c.completeIdentity(&system)
		ids = append(ids, system)
	}
	return append(ids, c.UserAssigned...)
}

func (c *Config) completeIdentity(id *Identity) {
	id.ClientID = cmp.Or(id.ClientID, c.derivedID("client", id.Name))
	id.ObjectID = cmp.Or(id.ObjectID, c.derivedID("object", id.Name))
	id.ResourceID = cmp.Or(id.ResourceID, c.groupID()+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"+id.Name)
}

// derivedID returns a UUID that depends on nothing but the configuration.
func (c *Config) derivedID(kind, name string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(c.SubscriptionID+"/"+kind+"/"+name)).String()
}

func (c *Config) groupID() string {
	return "/subscriptions/" + c.SubscriptionID + "/resourceGroups/" + c.ResourceGroup
}

func (c *Config) masterID() string {
	if c.Master.ScaleSet != "" {
		return c.groupID() + "/providers/Microsoft.Compute/virtualMachineScaleSets/" + c.Master.ScaleSet + "/virtualMachines/0"
	}
	return c.groupID() + "/providers/Microsoft.Compute/virtualMachines/" + c.Master.Name
}
