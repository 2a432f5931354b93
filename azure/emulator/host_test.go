package emulator_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

const eventsPath = "/metadata/scheduledevents?api-version=2020-07-01"

// events returns the resources of the scheduled events that the IMDS lists.
func (w *world) events(t *testing.T, imds string) (resources [][]any, id string) {
	t.Helper()
	a := w.do(t, http.MethodGet, imds+eventsPath, "", metadata)
	events, ok := a.body["Events"].([]any)
	if a.status != http.StatusOK || !ok {
		t.Fatalf("scheduled events: %d %s", a.status, a.text)
	}
	for _, e := range events {
		event := e.(map[string]any)
		resources, id = append(resources, event["Resources"].([]any)), event["EventId"].(string)
	}
	return resources, id
}

// machine returns the URL of the IMDS of the set's machine of that index.
func (w *world) machine(t *testing.T, set string, index int) string {
	t.Helper()
	for _, vm := range w.cloud.VMs() {
		if vm.Set != set {
			continue
		}
		if index == 0 {
			return w.imds + emulator.IMDSPath(vm.VMID)
		}
		index--
	}
	t.Fatalf("set %s has no such machine", set)
	return ""
}

func TestMachineHasItsOwnIMDS(t *testing.T) {
	w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 2}, {Name: "others", Capacity: 1}}})
	second, other := w.machine(t, "agents", 1), w.machine(t, "others", 0)
	compute, _ := w.do(t, http.MethodGet, second+instancePath, "", metadata).body["compute"].(map[string]any)
	if compute["name"] != "agents_1" || compute["vmScaleSetName"] != "agents" || compute["vmId"] != w.cloud.VMs()[1].VMID {
		t.Errorf("the second machine of the set is described as %v", compute)
	}
	if a := w.do(t, http.MethodGet, second+"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x", "", metadata); a.status != http.StatusBadRequest {
		t.Errorf("a machine without an identity gets %d for a token", a.status)
	}
	if a := w.do(t, http.MethodGet, w.imds+emulator.IMDSPath("nobody")+instancePath, "", metadata); a.status != http.StatusNotFound {
		t.Errorf("a machine that does not exist has an IMDS: %d", a.status)
	}

	id, err := w.cloud.Schedule(emulator.ScheduledEvent{Type: "Reboot", Set: "agents", InstanceIDs: []string{"0"}, Notice: metav1.Duration{Duration: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := w.events(t, second); len(got) != 1 {
		t.Errorf("a machine of the same set sees %v, want the event", got)
	}
	if got, _ := w.events(t, other); got != nil {
		t.Errorf("a machine of another set sees %v", got)
	}
	if a := w.do(t, http.MethodPost, other+eventsPath, `{"StartRequests":[{"EventId":"`+id+`"}]}`, metadata); a.status != http.StatusBadRequest {
		t.Errorf("a machine of another set approves: %d", a.status)
	}
}

func TestEachMachineHasItsOwnLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 2}}})
		ask := func(index int) int {
			return w.do(t, http.MethodGet, w.machine(t, "agents", index)+instancePath, "", metadata).status
		}
		for range 5 {
			ask(0)
		}
		if first, second := ask(0), ask(1); first != http.StatusTooManyRequests || second != http.StatusOK {
			t.Errorf("after five requests to one machine's IMDS it answers %d, another's %d", first, second)
		}
	})
}

// A set with termination notices deletes a machine when its notice is over or
// approved; the capacity falls at once.
func TestTerminateNotice(t *testing.T) {
	for name, approve := range map[string]bool{"approved": true, "not approved": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{
					Name: "agents", Capacity: 2, TerminateNotice: metav1.Duration{Duration: 5 * time.Minute},
				}}})
				time.Sleep(time.Minute)
				imds := w.machine(t, "agents", 1)
				sets, vms := w.clients(t, nil)
				if _, err := sets.BeginDeleteInstances(t.Context(), group, "agents", armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs{InstanceIDs: to.SliceOfPtrs("1")}, nil); err != nil {
					t.Fatal(err)
				}
				if got, want := listVMs(t, vms, "agents")[1], "1 agents000001 Deleting PowerState/running"; got != want {
					t.Errorf("the machine is %q, want %q", got, want)
				}
				resources, id := w.events(t, imds)
				if diff := cmp.Diff([][]any{{"agents_1"}}, resources); diff != "" {
					t.Fatalf("events (-want +got):\n%s", diff)
				}
				kinds := func() (found []emulator.EventKind) {
					for _, e := range w.cloud.History() {
						if e.How == emulator.ByDeleteInstances || e.How == emulator.ByScheduledEvent {
							found = append(found, e.Kind)
						}
					}
					return found
				}
				want := []emulator.EventKind{emulator.CapacityChanged}
				if diff := cmp.Diff(want, kinds()); diff != "" {
					t.Errorf("before the notice is over (-want +got):\n%s", diff)
				}
				if approve {
					w.do(t, http.MethodPost, imds+eventsPath, `{"StartRequests":[{"EventId":"`+id+`"}]}`, metadata)
					want = append(want, emulator.EventApproved)
				} else {
					time.Sleep(5 * time.Minute)
				}
				time.Sleep(10 * time.Second)
				want = append(want, emulator.InstanceDeleting, emulator.InstanceDeleted)
				if diff := cmp.Diff(want, kinds()); diff != "" {
					t.Errorf("in all (-want +got):\n%s", diff)
				}
			})
		})
	}
}
