package sim

import (
	"regexp"
	"slices"
	"time"
)

// operations are paths of what is done to the machines of a set by their IDs, or
// lists them.
var operations = regexp.MustCompile("/virtualMachineScaleSets/([^/]+)/(delete|restart|reimage|deallocate|virtualMachines)$")

// checkOperation makes sure that a machine whose end or restart was committed is
// not mistaken for another one that has its instance ID now: before each request
// is sent the process reads whose the IDs are. Machines that never joined are given up
// without a commitment, but not that early.
func (w *World) checkOperation(c *call) {
	path := operations.FindStringSubmatch(c.http.URL.Path)
	if path == nil {
		return
	}
	set, operation := path[1], path[2]
	if operation == "virtualMachines" {
		if !c.http.URL.Query().Has("$expand") { // else it is for the plans
			c.from.listed[set] = time.Now()
		}
		return
	}
	var request struct{ InstanceIDs []string }
	decode(c.body, &request)
	for _, vm := range w.Cloud.VMs() {
		known := vm.Created.Before(c.listed[set]) && time.Since(vm.Created) < youngest
		if vm.Set == set && slices.Contains(request.InstanceIDs, vm.InstanceID) && known && !w.doomed[vm.VMID] {
			w.fail("%s was asked of machine %s of %s, although nobody had committed it", operation, vm.InstanceID, set)
		}
	}
}

// youngest is the age from which on a machine may be given up.
const youngest = 2 * time.Minute
