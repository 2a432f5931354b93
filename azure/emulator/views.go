package emulator

import (
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// viewSet returns the set as ARM shows it.
func (c *Cloud) viewSet(s *scaleSet) armcompute.VirtualMachineScaleSet {
	mode := armcompute.OrchestrationModeUniform
	if s.Flexible {
		mode = armcompute.OrchestrationModeFlexible
	}
	profile := &armcompute.VirtualMachineScaleSetVMProfile{
		OSProfile: &armcompute.VirtualMachineScaleSetOSProfile{ComputerNamePrefix: to.Ptr(s.Name)},
	}
	if s.Spot {
		profile.Priority = to.Ptr(armcompute.VirtualMachinePriorityTypesSpot)
		profile.EvictionPolicy = to.Ptr(armcompute.VirtualMachineEvictionPolicyTypesDelete)
	}
	if s.OSDiskGB > 0 {
		profile.StorageProfile = &armcompute.VirtualMachineScaleSetStorageProfile{
			OSDisk: &armcompute.VirtualMachineScaleSetOSDisk{
				CreateOption: to.Ptr(armcompute.DiskCreateOptionTypesFromImage), DiskSizeGB: to.Ptr(int32(s.OSDiskGB)),
			},
		}
	}
	if notice := s.TerminateNotice.Duration; notice > 0 {
		profile.ScheduledEventsProfile = &armcompute.ScheduledEventsProfile{TerminateNotificationProfile: &armcompute.TerminateNotificationProfile{
			Enable: to.Ptr(true), NotBeforeTimeout: to.Ptr(fmt.Sprintf("PT%dS", int(notice.Seconds()))),
		}}
	}
	tags := map[string]*string{}
	for k, v := range s.Tags {
		tags[k] = to.Ptr(v)
	}
	return armcompute.VirtualMachineScaleSet{
		ID:       to.Ptr(c.setID(s)),
		Name:     to.Ptr(s.Name),
		Type:     to.Ptr("Microsoft.Compute/virtualMachineScaleSets"),
		Location: to.Ptr(c.cfg.Location),
		Tags:     tags,
		Zones:    to.SliceOfPtrs(s.Zones...),
		Etag:     to.Ptr(s.etag),
		SKU:      &armcompute.SKU{Name: to.Ptr(s.Size), Tier: to.Ptr("Standard"), Capacity: to.Ptr(int64(s.capacity))},
		Properties: &armcompute.VirtualMachineScaleSetProperties{
			OrchestrationMode:     to.Ptr(mode),
			ProvisioningState:     to.Ptr(s.provisioningState()),
			TimeCreated:           to.Ptr(s.created.UTC()),
			UniqueID:              to.Ptr(c.cfg.derivedID("set", s.Name)),
			Overprovision:         to.Ptr(false),
			SinglePlacementGroup:  to.Ptr(false),
			VirtualMachineProfile: profile,
		},
	}
}

// viewVM returns the machine as ARM shows it.
func (c *Cloud) viewVM(i *instance, withInstanceView bool) armcompute.VirtualMachineScaleSetVM {
	vm := armcompute.VirtualMachineScaleSetVM{
		ID:         to.Ptr(c.instanceID(i)),
		InstanceID: to.Ptr(i.id),
		Name:       to.Ptr(i.name()),
		Type:       to.Ptr("Microsoft.Compute/virtualMachineScaleSets/virtualMachines"),
		Location:   to.Ptr(c.cfg.Location),
		SKU:        &armcompute.SKU{Name: to.Ptr(i.size), Tier: to.Ptr("Standard")},
		Properties: &armcompute.VirtualMachineScaleSetVMProperties{
			VMID:               to.Ptr(i.vmID),
			ProvisioningState:  to.Ptr(i.state),
			TimeCreated:        to.Ptr(i.created.UTC()),
			LatestModelApplied: to.Ptr(i.model == i.set.model),
			ProtectionPolicy:   i.protection,
			OSProfile:          &armcompute.OSProfile{ComputerName: to.Ptr(i.computerName)},
			HardwareProfile:    &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypes(i.size))},
		},
	}
	if i.zone != "" {
		vm.Zones = to.SliceOfPtrs(i.zone)
	}
	if withInstanceView {
		vm.Properties.InstanceView = to.Ptr(viewInstance(i))
	}
	return vm
}

// viewInstance returns the machine's instance view.
func viewInstance(i *instance) armcompute.VirtualMachineScaleSetVMInstanceView {
	level := armcompute.StatusLevelTypesInfo
	if i.state == failed {
		level = armcompute.StatusLevelTypesError
	}
	return armcompute.VirtualMachineScaleSetVMInstanceView{
		ComputerName: to.Ptr(i.computerName),
		Statuses: []*armcompute.InstanceViewStatus{
			{Code: to.Ptr("ProvisioningState/" + strings.ToLower(i.state)), Level: to.Ptr(level), DisplayStatus: to.Ptr("Provisioning " + strings.ToLower(i.state))},
			{Code: to.Ptr("PowerState/" + i.power), Level: to.Ptr(armcompute.StatusLevelTypesInfo), DisplayStatus: to.Ptr("VM " + i.power)},
		},
	}
}

// viewSetInstances returns the set's instance view: how many machines are in
// which state.
func viewSetInstances(s *scaleSet) armcompute.VirtualMachineScaleSetInstanceView {
	count := map[string]int32{}
	var codes []string
	for _, i := range s.instances {
		code := "ProvisioningState/" + strings.ToLower(i.state)
		if count[code] == 0 {
			codes = append(codes, code)
		}
		count[code]++
	}
	view := armcompute.VirtualMachineScaleSetInstanceView{
		Statuses: []*armcompute.InstanceViewStatus{{
			Code: to.Ptr("ProvisioningState/" + strings.ToLower(s.provisioningState())), Level: to.Ptr(armcompute.StatusLevelTypesInfo),
		}},
		VirtualMachine: &armcompute.VirtualMachineScaleSetInstanceViewStatusesSummary{},
	}
	for _, code := range codes {
		view.VirtualMachine.StatusesSummary = append(view.VirtualMachine.StatusesSummary, &armcompute.VirtualMachineStatusCodeCount{Code: to.Ptr(code), Count: to.Ptr(count[code])})
	}
	return view
}

// operationStatus is the document behind Azure-AsyncOperation.
// Source: Azure Resource Manager RPC, "Asynchronous operations".
type operationStatus struct {
	Name      string     `json:"name"`
	Status    string     `json:"status"`
	StartTime time.Time  `json:"startTime"`
	EndTime   *time.Time `json:"endTime,omitempty"`
	Error     *errorBody `json:"error,omitempty"`
}

// errorBody is how ARM spells an error.
type errorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target,omitempty"`
}

func bodyOf(e *Error) *errorBody {
	return &errorBody{Code: e.Code, Message: e.Message, Target: e.Target}
}

// operation returns the state of an operation, or nil if there is none.
func (c *Cloud) operation(id string) *operationStatus {
	c.begin()
	defer c.end()
	op, ok := c.operations[id]
	if !ok {
		return nil
	}
	status := &operationStatus{Name: op.id, Status: op.status, StartTime: op.start.UTC()}
	if !op.end.IsZero() {
		status.EndTime = to.Ptr(op.end.UTC())
	}
	if op.err != nil {
		status.Error = bodyOf(op.err)
	}
	return status
}
