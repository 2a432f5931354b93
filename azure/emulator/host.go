package emulator

import (
	"net/http"
	"strings"
)

// host is a machine as its own IMDS describes it.
type host struct {
	name, vmID, size, scaleSet, resourceID, zone string
	// set is that of a machine other than the master, nil for the master.
	set *scaleSet
}

func (c *Cloud) masterHost() host {
	m := c.cfg.Master
	return host{name: m.Name, vmID: m.VMID, size: m.Size, scaleSet: m.ScaleSet, resourceID: c.cfg.masterID()}
}

// machinePath is below which the machine with that VMID has its own IMDS, which
// on a real one is at the same address everywhere. It has no identity.
const machinePath = "/emulator/vms/{vmid}/"

// IMDSPath is the path of the IMDS of the machine with that VMID, below the
// base URL of the master's.
func IMDSPath(vmID string) string {
	return strings.TrimSuffix(strings.Replace(machinePath, "{vmid}", vmID, 1), "/")
}

// serveMachine serves the IMDS of the machine that the path names.
func (c *Cloud) serveMachine(w http.ResponseWriter, r *http.Request) {
	vmID := r.PathValue("vmid")
	h, found := c.machineHost(vmID)
	if !found {
		imdsError(w, http.StatusNotFound, "not_found", "No machine has VMID "+vmID)
		return
	}
	http.StripPrefix(IMDSPath(vmID), c.metadataHandler(h)).ServeHTTP(w, r)
}

func (c *Cloud) machineHost(vmID string) (host, bool) {
	c.begin()
	defer c.end()
	for _, s := range c.sets {
		for _, i := range s.instances {
			if i.vmID == vmID {
				return host{name: i.name(), vmID: vmID, size: s.Size, scaleSet: s.Name, resourceID: c.instanceID(i), zone: i.zone, set: s}, true
			}
		}
	}
	return host{}, false
}
