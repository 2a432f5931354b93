package emulator

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8/fake"
)

// call is one request on its way through the SDK's fake servers. What they
// cannot carry back, it carries: the ETag and the operation that was started.
type call struct {
	cloud *Cloud
	who   caller
	// link is the scheme and host of links; url and skip are the request's
	// address and the place in a list where its page begins.
	link string
	url  *url.URL
	skip string

	etag string
	op   *operation
}

// server returns the fake server that knows the API of that name.
func (k *call) server(api string) policy.Transporter {
	switch {
	case strings.HasPrefix(api, vmsAPI):
		return fake.NewVirtualMachineScaleSetVMsServerTransport(k.vmsServer())
	case strings.HasPrefix(api, skusAPI):
		return fake.NewResourceSKUsServerTransport(&fake.ResourceSKUsServer{NewListPager: k.listSKUs})
	case strings.HasPrefix(api, usagesAPI):
		return fake.NewUsageServerTransport(&fake.UsageServer{NewListPager: k.listUsages})
	}
	return fake.NewVirtualMachineScaleSetsServerTransport(k.setsServer())
}

func (k *call) setsServer() *fake.VirtualMachineScaleSetsServer {
	return &fake.VirtualMachineScaleSetsServer{
		Get:             k.getSet,
		GetInstanceView: k.getSetInstanceView,
		NewListAllPager: func(*armcompute.VirtualMachineScaleSetsClientListAllOptions) (resp azfake.PagerResponder[armcompute.VirtualMachineScaleSetsClientListAllResponse]) {
			sets, next, err := k.listSets(k.cloud.cfg.ResourceGroup)
			addPage(&resp, armcompute.VirtualMachineScaleSetsClientListAllResponse{VirtualMachineScaleSetListWithLinkResult: armcompute.VirtualMachineScaleSetListWithLinkResult{Value: sets, NextLink: next}}, err)
			return resp
		},
		NewListPager: func(group string, _ *armcompute.VirtualMachineScaleSetsClientListOptions) (resp azfake.PagerResponder[armcompute.VirtualMachineScaleSetsClientListResponse]) {
			sets, next, err := k.listSets(group)
			addPage(&resp, armcompute.VirtualMachineScaleSetsClientListResponse{VirtualMachineScaleSetListResult: armcompute.VirtualMachineScaleSetListResult{Value: sets, NextLink: next}}, err)
			return resp
		},
		BeginUpdate:          k.update,
		BeginDeleteInstances: k.deleteInstances,
		BeginDeallocate: func(_ context.Context, group, name string, o *armcompute.VirtualMachineScaleSetsClientBeginDeallocateOptions) (azfake.PollerResponder[armcompute.VirtualMachineScaleSetsClientDeallocateResponse], azfake.ErrorResponder) {
			var ids *armcompute.VirtualMachineScaleSetVMInstanceIDs
			if o != nil {
				ids = o.VMInstanceIDs
			}
			return power[armcompute.VirtualMachineScaleSetsClientDeallocateResponse](k, group, name, actionDeallocate, ids)
		},
		BeginStart: func(_ context.Context, group, name string, o *armcompute.VirtualMachineScaleSetsClientBeginStartOptions) (azfake.PollerResponder[armcompute.VirtualMachineScaleSetsClientStartResponse], azfake.ErrorResponder) {
			var ids *armcompute.VirtualMachineScaleSetVMInstanceIDs
			if o != nil {
				ids = o.VMInstanceIDs
			}
			return power[armcompute.VirtualMachineScaleSetsClientStartResponse](k, group, name, actionStart, ids)
		},
		BeginRestart: func(_ context.Context, group, name string, o *armcompute.VirtualMachineScaleSetsClientBeginRestartOptions) (azfake.PollerResponder[armcompute.VirtualMachineScaleSetsClientRestartResponse], azfake.ErrorResponder) {
			var ids *armcompute.VirtualMachineScaleSetVMInstanceIDs
			if o != nil {
				ids = o.VMInstanceIDs
			}
			return power[armcompute.VirtualMachineScaleSetsClientRestartResponse](k, group, name, actionRestart, ids)
		},
		BeginReimage: func(_ context.Context, group, name string, o *armcompute.VirtualMachineScaleSetsClientBeginReimageOptions) (azfake.PollerResponder[armcompute.VirtualMachineScaleSetsClientReimageResponse], azfake.ErrorResponder) {
			var ids *armcompute.VirtualMachineScaleSetVMInstanceIDs
			if o != nil && o.VMScaleSetReimageInput != nil {
				ids = &armcompute.VirtualMachineScaleSetVMInstanceIDs{InstanceIDs: o.VMScaleSetReimageInput.InstanceIDs}
			}
			return power[armcompute.VirtualMachineScaleSetsClientReimageResponse](k, group, name, actionReimage, ids)
		},
	}
}

func (k *call) vmsServer() *fake.VirtualMachineScaleSetVMsServer {
	return &fake.VirtualMachineScaleSetVMsServer{
		Get:             k.getVM,
		GetInstanceView: k.getInstanceView,
		BeginUpdate:     k.updateVM,
		NewListPager: func(group, name string, o *armcompute.VirtualMachineScaleSetVMsClientListOptions) (resp azfake.PagerResponder[armcompute.VirtualMachineScaleSetVMsClientListResponse]) {
			vms, next, err := k.listVMs(group, name, o != nil && o.Expand != nil && *o.Expand == "instanceView")
			addPage(&resp, armcompute.VirtualMachineScaleSetVMsClientListResponse{VirtualMachineScaleSetVMListResult: armcompute.VirtualMachineScaleSetVMListResult{Value: vms, NextLink: next}}, err)
			return resp
		},
	}
}

func addPage[T any](resp *azfake.PagerResponder[T], page T, err *Error) {
	if err != nil {
		resp.AddError(err)
		return
	}
	resp.AddPage(http.StatusOK, page, nil)
}

// page returns the part of a list that the request asks for, and the link to
// the next one, or nil.
func page[T any](k *call, all []T) ([]T, *string, *Error) {
	from := 0
	if k.skip != "" {
		n, err := strconv.Atoi(k.skip)
		if err != nil || n < 0 {
			return nil, nil, failure(http.StatusBadRequest, "InvalidParameter", "The value '%s' of parameter '$skiptoken' is invalid.", k.skip)
		}
		from = min(n, len(all))
	}
	to := min(from+k.cloud.cfg.PageSize, len(all))
	if to == len(all) {
		return all[from:to], nil, nil
	}
	q := k.url.Query()
	q.Set("$skiptoken", strconv.Itoa(to))
	next := k.link + k.url.EscapedPath() + "?" + q.Encode()
	return all[from:to], &next, nil
}

func (k *call) listSets(group string) ([]*armcompute.VirtualMachineScaleSet, *string, *Error) {
	c := k.cloud
	c.begin()
	defer c.end()
	if !strings.EqualFold(group, c.cfg.ResourceGroup) {
		return nil, nil, errGroup(group)
	}
	all := make([]*armcompute.VirtualMachineScaleSet, 0, len(c.sets))
	for _, s := range c.sets {
		v := c.viewSet(s)
		all = append(all, &v)
	}
	return page(k, all)
}

func (k *call) listVMs(group, name string, expand bool) ([]*armcompute.VirtualMachineScaleSetVM, *string, *Error) {
	c := k.cloud
	c.begin()
	defer c.end()
	s, err := c.findSet(group, name)
	if err != nil {
		return nil, nil, err
	}
	all := make([]*armcompute.VirtualMachineScaleSetVM, 0, len(s.instances))
	for _, i := range s.instances {
		v := c.viewVM(i, expand)
		all = append(all, &v)
	}
	return page(k, all)
}

func (k *call) getSet(_ context.Context, group, name string, _ *armcompute.VirtualMachineScaleSetsClientGetOptions) (resp azfake.Responder[armcompute.VirtualMachineScaleSetsClientGetResponse], errResp azfake.ErrorResponder) {
	c := k.cloud
	c.begin()
	defer c.end()
	s, err := c.findSet(group, name)
	if err != nil {
		errResp.SetError(err)
		return resp, errResp
	}
	k.etag = s.etag
	resp.SetResponse(http.StatusOK, armcompute.VirtualMachineScaleSetsClientGetResponse{VirtualMachineScaleSet: c.viewSet(s)}, nil)
	return resp, errResp
}

func (k *call) getSetInstanceView(_ context.Context, group, name string, _ *armcompute.VirtualMachineScaleSetsClientGetInstanceViewOptions) (resp azfake.Responder[armcompute.VirtualMachineScaleSetsClientGetInstanceViewResponse], errResp azfake.ErrorResponder) {
	c := k.cloud
	c.begin()
	defer c.end()
	s, err := c.findSet(group, name)
	if err != nil {
		errResp.SetError(err)
		return resp, errResp
	}
	resp.SetResponse(http.StatusOK, armcompute.VirtualMachineScaleSetsClientGetInstanceViewResponse{VirtualMachineScaleSetInstanceView: viewSetInstances(s)}, nil)
	return resp, errResp
}

func (k *call) update(_ context.Context, group, name string, patch armcompute.VirtualMachineScaleSetUpdate, o *armcompute.VirtualMachineScaleSetsClientBeginUpdateOptions) (resp azfake.PollerResponder[armcompute.VirtualMachineScaleSetsClientUpdateResponse], errResp azfake.ErrorResponder) {
	ifMatch := ""
	if o != nil && o.IfMatch != nil {
		ifMatch = *o.IfMatch
	}
	set, op, err := k.cloud.update(k.who, group, name, patch, ifMatch)
	if err != nil {
		errResp.SetError(err)
		return resp, errResp
	}
	k.op, k.etag = op, *set.Etag
	resp.SetTerminalResponse(http.StatusOK, armcompute.VirtualMachineScaleSetsClientUpdateResponse{VirtualMachineScaleSet: set}, nil)
	return resp, errResp
}

func (k *call) deleteInstances(_ context.Context, group, name string, ids armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs, _ *armcompute.VirtualMachineScaleSetsClientBeginDeleteInstancesOptions) (resp azfake.PollerResponder[armcompute.VirtualMachineScaleSetsClientDeleteInstancesResponse], errResp azfake.ErrorResponder) {
	return accept[armcompute.VirtualMachineScaleSetsClientDeleteInstancesResponse](k, func() (*operation, *Error) {
		return k.cloud.deleteInstances(k.who, group, name, values(ids.InstanceIDs))
	})
}

func power[T any](k *call, group, name, action string, ids *armcompute.VirtualMachineScaleSetVMInstanceIDs) (azfake.PollerResponder[T], azfake.ErrorResponder) {
	return accept[T](k, func() (*operation, *Error) {
		var list []string
		if ids != nil {
			list = values(ids.InstanceIDs)
		}
		return k.cloud.power(k.who, group, name, action, list)
	})
}

// accept answers 202 to an action that starts an operation.
func accept[T any](k *call, start func() (*operation, *Error)) (resp azfake.PollerResponder[T], errResp azfake.ErrorResponder) {
	op, err := start()
	if err != nil {
		errResp.SetError(err)
		return resp, errResp
	}
	k.op = op
	var none T
	resp.SetTerminalResponse(http.StatusAccepted, none, nil)
	return resp, errResp
}

func values(ids []*string) []string {
	var out []string
	for _, id := range ids {
		if id != nil {
			out = append(out, *id)
		}
	}
	return out
}

func (k *call) getVM(_ context.Context, group, name, id string, o *armcompute.VirtualMachineScaleSetVMsClientGetOptions) (resp azfake.Responder[armcompute.VirtualMachineScaleSetVMsClientGetResponse], errResp azfake.ErrorResponder) {
	c := k.cloud
	c.begin()
	defer c.end()
	i, err := c.findInstance(group, name, id)
	if err != nil {
		errResp.SetError(err)
		return resp, errResp
	}
	expand := o != nil && o.Expand != nil && *o.Expand == armcompute.InstanceViewTypesInstanceView
	resp.SetResponse(http.StatusOK, armcompute.VirtualMachineScaleSetVMsClientGetResponse{VirtualMachineScaleSetVM: c.viewVM(i, expand)}, nil)
	return resp, errResp
}

func (k *call) getInstanceView(_ context.Context, group, name, id string, _ *armcompute.VirtualMachineScaleSetVMsClientGetInstanceViewOptions) (resp azfake.Responder[armcompute.VirtualMachineScaleSetVMsClientGetInstanceViewResponse], errResp azfake.ErrorResponder) {
	c := k.cloud
	c.begin()
	defer c.end()
	i, err := c.findInstance(group, name, id)
	if err != nil {
		errResp.SetError(err)
		return resp, errResp
	}
	resp.SetResponse(http.StatusOK, armcompute.VirtualMachineScaleSetVMsClientGetInstanceViewResponse{VirtualMachineScaleSetVMInstanceView: viewInstance(i)}, nil)
	return resp, errResp
}
