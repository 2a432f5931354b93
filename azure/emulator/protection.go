package emulator

import (
	"context"
	"net/http"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// updateVM changes a machine's protection policy, and nothing else of it. The
// policy keeps Azure from choosing the machine when the capacity is lowered; it
// does not keep anybody from deleting it by its ID.
// Source: Azure documentation, "Instance Protection for Azure VM scale sets".
func (k *call) updateVM(_ context.Context, group, name, id string, vm armcompute.VirtualMachineScaleSetVM, _ *armcompute.VirtualMachineScaleSetVMsClientBeginUpdateOptions) (resp azfake.PollerResponder[armcompute.VirtualMachineScaleSetVMsClientUpdateResponse], errResp azfake.ErrorResponder) {
	c := k.cloud
	c.begin()
	defer c.end()
	i, err := c.findInstance(group, name, id)
	if err != nil {
		errResp.SetError(err)
		return resp, errResp
	}
	if vm.Properties != nil && vm.Properties.ProtectionPolicy != nil {
		i.protection = vm.Properties.ProtectionPolicy
	}
	k.op = c.newOperation(i.set, nil)
	resp.SetTerminalResponse(http.StatusOK, armcompute.VirtualMachineScaleSetVMsClientUpdateResponse{VirtualMachineScaleSetVM: c.viewVM(i, false)}, nil)
	return resp, errResp
}

// protectedFromScaleIn reports whether Azure may not choose the machine.
func protectedFromScaleIn(i *instance) bool {
	p := i.protection
	return p != nil && p.ProtectFromScaleIn != nil && *p.ProtectFromScaleIn
}

// protected is how many machines Azure may not choose.
func protected(s *scaleSet) int {
	n := 0
	for _, i := range s.instances {
		if i.state != deleting && protectedFromScaleIn(i) {
			n++
		}
	}
	return n
}
