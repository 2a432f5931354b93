package emulator

import (
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// caller is who asks, and what the script has in store for the operation.
type caller struct {
	name string
	Effect
}

// update patches a set's capacity, VM size and tags. Everything else of the model
// is accepted and has no effect. Another size leaves the machines that are there
// as they are, outdated.
func (c *Cloud) update(who caller, group, name string, patch armcompute.VirtualMachineScaleSetUpdate, ifMatch string) (armcompute.VirtualMachineScaleSet, *operation, *Error) {
	c.begin()
	defer c.end()
	none := armcompute.VirtualMachineScaleSet{}
	s, err := c.findSet(group, name)
	if err != nil {
		return none, nil, err
	}
	if ifMatch != "" && ifMatch != "*" && strings.Trim(ifMatch, `"`) != strings.Trim(s.etag, `"`) {
		return none, nil, errPrecondition(s.etag)
	}
	want := s.capacity
	if patch.SKU != nil && patch.SKU.Capacity != nil {
		want = int(*patch.SKU.Capacity)
	}
	if err := c.checkCapacity(s, want); err != nil {
		return none, nil, err
	}
	if patch.SKU != nil && patch.SKU.Name != nil && *patch.SKU.Name != s.Size {
		shape, ok := knownShapes[*patch.SKU.Name]
		if !ok {
			return none, nil, failure(http.StatusBadRequest, "InvalidParameter", "The value '%s' of parameter 'sku.name' is not a size that this emulator knows.", *patch.SKU.Name)
		}
		s.Size, s.Shape = *patch.SKU.Name, &shape
		s.model++
	}
	if patch.Tags != nil {
		s.Tags = map[string]string{}
		for k, v := range patch.Tags {
			if v != nil {
				s.Tags[k] = *v
			}
		}
	}
	op := c.resize(who, s, want)
	return c.viewSet(s), op, nil
}

func (c *Cloud) checkCapacity(s *scaleSet, want int) *Error {
	switch {
	case want < 0 || want > maxCapacity:
		return failure(http.StatusBadRequest, "InvalidParameter", "The value '%d' of parameter 'sku.capacity' is out of range: it must be between 0 and %d.", want, maxCapacity)
	case want != s.capacity && s.Flexible:
		return failure(http.StatusConflict, "OperationNotAllowed", "Scaling of a scale set with orchestration mode Flexible is not emulated.")
	case want <= s.capacity:
		return nil
	}
	required := (want - s.capacity) * s.Shape.VCPUs
	for _, q := range c.cfg.Quotas {
		if used := c.used(q); q.counts(s) && used+required > q.Limit {
			return errQuota(c.cfg.Location, q, used, required)
		}
	}
	return nil
}

// resize brings the set to the wanted capacity. Growing creates machines. When
// it shrinks, Azure chooses: here as by its default scale-in policy in one
// zone, the newest first, and none that is protected from it.
func (c *Cloud) resize(who caller, s *scaleSet, want int) *operation {
	want = max(want, protected(s))
	change := want - s.capacity
	c.setCapacity(s, want, who.name, ByPatch)
	if change < 0 {
		var victims []*instance
		for _, i := range slices.Backward(s.instances) {
			if i.state != deleting && !protectedFromScaleIn(i) && len(victims) < -change {
				victims = append(victims, i)
			}
		}
		return c.delete(who, s, victims, ByScaleIn)
	}
	if who.Preempt {
		c.preempt(s)
	}
	if who.Late != nil && who.Late.KeepCapacity {
		return c.failLater(s, who.Late, func() {})
	}
	var created []*instance
	for range change {
		created = append(created, c.newInstance(s, who.name, ByPatch))
	}
	if who.Late != nil {
		return c.failLater(s, who.Late, func() { c.allocationFailed(s, created, who.Late.KeepFailed) })
	}
	for _, i := range created {
		if !who.Endless {
			c.boot(i)
		}
	}
	return c.newOperation(s, created)
}

func (c *Cloud) allocationFailed(s *scaleSet, created []*instance, keep bool) {
	gone := 0
	for _, i := range created {
		if i.state != creating { // deleted meanwhile
			continue
		}
		i.state, i.power = failed, powerStopping
		c.record(InstanceFailed, i, "", ByAllocation)
		if !keep {
			c.remove(i)
			c.record(InstanceDeleted, i, "", ByAllocation)
			gone++
		}
	}
	if gone > 0 {
		c.setCapacity(s, s.capacity-gone, "", ByAllocation)
	}
}

// deleteInstances deletes machines by ID. It lowers the capacity by itself.
func (c *Cloud) deleteInstances(who caller, group, name string, ids []string) (*operation, *Error) {
	c.begin()
	defer c.end()
	s, victims, err := c.findInstances(group, name, ids)
	if err != nil {
		return nil, err
	}
	if who.Late != nil {
		return c.failLater(s, who.Late, func() {}), nil
	}
	lowered := 0
	for _, i := range victims {
		if i.state != deleting {
			lowered++
		}
	}
	c.setCapacity(s, s.capacity-lowered, who.name, ByDeleteInstances)
	return c.delete(who, s, victims, ByDeleteInstances), nil
}

// findInstances resolves instance IDs; "*" is every instance.
func (c *Cloud) findInstances(group, name string, ids []string) (*scaleSet, []*instance, *Error) {
	s, err := c.findSet(group, name)
	if err != nil {
		return nil, nil, err
	}
	if len(ids) == 1 && ids[0] == "*" {
		return s, slices.Clone(s.instances), nil
	}
	var found []*instance
	for _, id := range ids {
		i := s.find(id)
		if i == nil {
			return nil, nil, errInstance(id)
		}
		found = append(found, i)
	}
	return s, found, nil
}

// delete stops the machines and removes them a little later. Those of a set
// with termination notices stop when theirs is over; all others at once.
// Machines that are being deleted already are waited for, not deleted again.
func (c *Cloud) delete(who caller, s *scaleSet, victims []*instance, how How) *operation {
	for _, i := range victims {
		if i.state == deleting {
			continue
		}
		c.settle(i)
		i.state = deleting
		if notice := s.TerminateNotice.Duration; notice > 0 && i.up && how != ByScheduledEvent {
			c.announce("Terminate", notice, []*instance{i}, func() { c.takeDown(who, i, how) })
		} else {
			c.takeDown(who, i, how)
		}
	}
	return c.newOperation(s, victims)
}

func (c *Cloud) takeDown(who caller, i *instance, how How) {
	c.silence(i)
	i.power = powerStopping
	c.record(InstanceDeleting, i, who.name, how)
	if who.Endless {
		return
	}
	c.afterFor(i, c.draw(c.cfg.DeleteTime), func() {
		c.remove(i)
		c.record(InstanceDeleted, i, who.name, how)
		c.settle(i)
	})
}

// The actions on instances besides deletion.
const (
	actionDeallocate = "deallocate"
	actionStart      = "start"
	actionRestart    = "restart"
	actionReimage    = "reimage"
)

// power deallocates, starts, restarts or reimages machines; no IDs mean all.
func (c *Cloud) power(who caller, group, name, action string, ids []string) (*operation, *Error) {
	c.begin()
	defer c.end()
	if len(ids) == 0 {
		ids = []string{"*"}
	}
	s, found, err := c.findInstances(group, name, ids)
	if err != nil {
		return nil, err
	}
	for _, i := range found {
		if i.state == deleting {
			return nil, failure(http.StatusConflict, "OperationNotAllowed", "Operation '%s' is not allowed on VM '%s_%s' since the VM is marked for deletion.", action, s.Name, i.id)
		}
	}
	if who.Late != nil {
		return c.failLater(s, who.Late, func() {
			for _, i := range found {
				if action == actionStart && i.power == powerDeallocated && i.state != deleting {
					i.state = failed
				}
			}
		}), nil
	}
	s.etag = c.newETag()
	var changed []*instance
	for _, i := range found {
		if action == actionStart && i.power == powerRunning || action == actionDeallocate && i.power == powerDeallocated {
			continue
		}
		changed = append(changed, i)
		c.stop(i)
		i.state = updating
		if action == actionDeallocate {
			i.power = powerDeallocating
			c.record(InstanceStopping, i, who.name, ByAction)
			if who.Endless {
				continue
			}
			c.afterFor(i, c.draw(c.cfg.DeleteTime), func() {
				i.state, i.power = succeeded, powerDeallocated
				c.settle(i)
			})
			continue
		}
		if action == actionReimage {
			i.disks++
		}
		i.power = powerStarting
		c.record(InstanceStarting, i, who.name, ByAction)
		if !who.Endless {
			c.boot(i)
		}
	}
	return c.newOperation(s, changed), nil
}
