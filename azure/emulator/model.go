package emulator

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// maxCapacity is the most instances that a scale set can have.
// Source: Azure documentation, "Virtual Machine Scale Sets limits".
const maxCapacity = 1000

type scaleSet struct {
	ScaleSet
	etag      string
	created   time.Time
	capacity  int
	model     int // counts the changes to what new machines are like
	nextID    int
	instances []*instance  // oldest first
	active    []*operation // in progress, oldest first
	failed    bool         // the last operation to end has failed
}

func (s *scaleSet) provisioningState() string {
	switch {
	case len(s.active) > 0:
		return "Updating"
	case s.failed:
		return "Failed"
	}
	return "Succeeded"
}

func (s *scaleSet) find(id string) *instance {
	for _, i := range s.instances {
		if i.id == id {
			return i
		}
	}
	return nil
}

// newID returns the ID of the next machine.
func (s *scaleSet) newID() int {
	if s.ReuseIDs {
		id := 0
		for s.find(strconv.Itoa(id)) != nil {
			id++
		}
		return id
	}
	s.nextID++
	return s.nextID - 1
}

// Provisioning and power states as instance views show them.
const (
	creating  = "Creating"
	updating  = "Updating"
	succeeded = "Succeeded"
	failed    = "Failed"
	canceled  = "Canceled"
	deleting  = "Deleting"

	powerStarting     = "starting"
	powerRunning      = "running"
	powerStopping     = "stopping"
	powerDeallocating = "deallocating"
	powerDeallocated  = "deallocated"
)

type instance struct {
	set          *scaleSet
	id           string
	vmID         string
	computerName string
	zone         string
	state, power string
	created      time.Time
	// size, shape and model are those of the set when the machine was bought.
	size  string
	shape Shape
	model int
	// boots and disks count the runs of its system and the disks it had.
	boots, disks int
	protection   *armcompute.VirtualMachineScaleSetVMProtectionPolicy
	// epoch changes whenever the future of the machine does, so that timers of
	// an earlier future find out that they are out of date.
	epoch int
	// up is whether the observers believe that the machine runs.
	up bool
}

// name is what Azure calls the machine.
func (i *instance) name() string { return i.set.Name + "_" + i.id }

// VM is a machine as observers see it.
type VM struct {
	// Set is the scale set's name, InstanceID the machine's ID in it.
	Set        string
	InstanceID string
	// ResourceID is the machine's ARM ID.
	ResourceID string
	// VMID is unique among all machines ever.
	VMID string
	// ComputerName is the host name, in upper case where Azure's rule says so.
	ComputerName string
	Size         string
	Shape        Shape
	Location     string
	// Zone is empty outside zones.
	Zone    string
	Spot    bool
	Node    NodeTemplate
	Created time.Time
	// Boots is how many times the machine's system has started, and Disks how
	// many disks it had: a reimage makes a new one.
	Boots, Disks int
}

func (c *Cloud) vm(i *instance) VM {
	return VM{
		Set: i.set.Name, InstanceID: i.id, ResourceID: c.instanceID(i), VMID: i.vmID, ComputerName: i.computerName,
		Size: i.size, Shape: i.shape, Location: c.cfg.Location, Zone: i.zone, Spot: i.set.Spot,
		Node: i.set.Node, Created: i.created, Boots: i.boots, Disks: i.disks,
	}
}

// VMs returns the machines that exist, in the order of their sets and IDs.
func (c *Cloud) VMs() []VM {
	c.begin()
	defer c.end()
	var vms []VM
	for _, s := range c.sets {
		for _, i := range s.instances {
			vms = append(vms, c.vm(i))
		}
	}
	return vms
}

func (c *Cloud) setID(s *scaleSet) string {
	return c.cfg.groupID() + "/providers/Microsoft.Compute/virtualMachineScaleSets/" + s.Name
}

func (c *Cloud) instanceID(i *instance) string {
	return c.setID(i.set) + "/virtualMachines/" + i.id
}

// computerName follows Azure's rule for Uniform sets: the prefix and the
// instance ID in base 36, upper case, padded to six digits.
// Source: Azure documentation, "Understand instance IDs for Azure VM scale set VMs".
func computerName(prefix string, id int) string {
	return prefix + fmt.Sprintf("%06s", strings.ToUpper(strconv.FormatInt(int64(id), 36)))
}

// newInstance adds a machine that is being created; nothing is scheduled yet.
func (c *Cloud) newInstance(s *scaleSet, by string, how How) *instance {
	id := s.newID()
	i := &instance{
		set: s, id: strconv.Itoa(id), vmID: c.newUUID(), computerName: computerName(s.Name, id),
		state: creating, power: powerStarting, created: c.now, disks: 1,
		size: s.Size, shape: *s.Shape, model: s.model,
	}
	if i.id == "0" && strings.EqualFold(s.Name, c.cfg.Master.ScaleSet) {
		i.vmID = c.cfg.Master.VMID
	}
	if len(s.Zones) > 0 {
		i.zone = s.Zones[id%len(s.Zones)]
	}
	s.instances = append(s.instances, i)
	c.record(InstanceCreated, i, by, how)
	return i
}

// afterFor schedules do unless the machine's future changes before.
func (c *Cloud) afterFor(i *instance, d time.Duration, do func()) {
	epoch := i.epoch
	c.after(d, func() {
		if i.epoch == epoch {
			do()
		}
	})
}

// boot lets the machine be provisioned after half of its boot time and its
// agent run after all of it.
func (c *Cloud) boot(i *instance) {
	total := c.draw(i.set.BootTime)
	fault := c.takeFault(BootOperation, i.set.Name)
	total += fault.Delay.Duration
	c.afterFor(i, total/2, func() { c.provisioned(i) })
	if !fault.NeverJoin {
		c.afterFor(i, total, func() { c.booted(i) })
	}
}

func (c *Cloud) provisioned(i *instance) {
	i.state, i.power = succeeded, powerRunning
	c.record(InstanceProvisioned, i, "", "")
	c.settle(i)
}

func (c *Cloud) booted(i *instance) {
	i.up = true
	i.boots++
	c.record(InstanceBooted, i, "", "")
	vm := c.vm(i)
	c.notify(func(o Observer) { o.OnBoot(vm) })
}

// stop takes the machine down; nobody waits for it any longer.
func (c *Cloud) stop(i *instance) {
	c.settle(i)
	c.silence(i)
}

// silence takes the machine down; what was to become of it is void.
func (c *Cloud) silence(i *instance) {
	i.epoch++
	if !i.up {
		return
	}
	i.up = false
	vm := c.vm(i)
	c.notify(func(o Observer) { o.OnGone(vm) })
}

func (c *Cloud) remove(i *instance) {
	for n, other := range i.set.instances {
		if other == i {
			i.set.instances = append(i.set.instances[:n:n], i.set.instances[n+1:]...)
			return
		}
	}
}
