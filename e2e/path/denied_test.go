package path

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// writeAction is Azure's name for a change of a scale set.
const writeAction = "Microsoft.Compute/virtualMachineScaleSets/write"

// Without its role Tidegate says once which one it lacks and where, waits, and
// goes on by itself when the role appears.
func TestRoleMissing(t *testing.T) {
	w := newWorld(t, "denied")
	cloud := w.Azure.Cloud()
	roles := cloud.Roles()
	scope := roles[0].Scope
	assign := func(roles []emulator.RoleAssignment) {
		t.Helper()
		if err := cloud.SetRoles(roles); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { assign(roles) })
	stopTidegate(t)

	assign(nil)
	const lacks = `lacks the role \"Virtual Machine Contributor\" on `
	p := own(t, rig.ProcessOptions{})
	w.saysNotReady(p, "Virtual Machine Contributor")
	w.submit(w.pod("work", "3", time.Second))
	w.waits("work", "PoolsUnknown", "Virtual Machine Contributor")
	if log := p.Log(); strings.Count(log, lacks+scope) != 1 || strings.Count(log, "level=ERROR") != 1 {
		t.Errorf("want one line that names the role on %s\n%s", scope, log)
	}

	// A role that only reads: the pools are known, but nothing can be bought.
	assign([]emulator.RoleAssignment{{Identity: emulator.SystemAssignedName, Scope: scope, Role: "Reader"}})
	w.waits("work", "PoolRefused", "Virtual Machine Contributor")
	w.saysNotReady(p, writeAction)

	assign(roles)
	w.phase("work", corev1.PodSucceeded)
	ready(t, p)
	w.atRest(1)
}
